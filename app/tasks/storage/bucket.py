"""An object store, by an fsspec URL: the few calls that a shared registry makes of it.

All rests on one of them, `create`: put an object if there is none of that key. S3 has it as
`If-None-Match: *`, Google's store as `ifGenerationMatch=0`, Azure's as `If-None-Match: *`; fsspec
calls it `mode="create"`. Credentials are found by the libraries (environment, files, roles) and are
never ours to know. Of errors the type is logged, never the message, which may name keys of access.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import StorageUnavailable
from app.tasks.storage.port import RegistryUnusable

logger = logging.getLogger(__name__)

CONNECT_S, READ_S = 3, 10
# The libraries retry, each its own way: this is how long a call may take in all, and what every
# byte of a large one adds.
CALL_S, BYTE_S = 15.0, 1e-6
MANY_S = 120.0
AT_ONCE = 64  # objects that are read in one go
RETRIES = 2  # of s3fs, beyond the first try; its default is to go on for several seconds
# By protocol: the module, the extra that installs it, and options that bound a call in time.
_S3: dict[str, Any] = {
    "config_kwargs": {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"total_max_attempts": 1},
    }
}
_AZ: dict[str, Any] = {"connection_timeout": CONNECT_S, "read_timeout": READ_S}
PROTOCOLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "s3": ("s3fs", "s3", _S3),
    "gs": ("gcsfs", "gs", {}),
    "az": ("adlfs", "az", _AZ),
}


class Bucket:
    """Objects under a URL such as `s3://bucket/prefix`.

    Raises:
        RegistryUnusable: the extra that knows this protocol is not installed.
    """

    def __init__(self, url: str) -> None:
        protocol = url.partition("://")[0]
        module, extra, options = PROTOCOLS[protocol]
        if importlib.util.find_spec(module) is None:
            raise RegistryUnusable(
                f"a registry at {protocol}:// needs pip install 'polyhead-service[{extra}]'"
            )
        import fsspec
        from fsspec.asyn import sync

        self._sync = sync
        self._fs = fsspec.filesystem(
            protocol, use_listings_cache=False, skip_instance_cache=True, **options
        )
        if protocol == "s3":
            self._fs.retries = RETRIES
        self._root = self._fs._strip_protocol(url).rstrip("/")
        self._down = False

    def read(self, key: str) -> bytes | None:
        """An object; None where there is none."""
        with self._calling():
            try:
                return bytes(self._call(self._fs._cat_file, self._path(key)))
            except FileNotFoundError:
                return None

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Some objects, several at once; None for each that is not there."""
        found: list[bytes | None] = []
        for start in range(0, len(keys), AT_ONCE):
            paths = [self._path(key) for key in keys[start : start + AT_ONCE]]
            with self._calling():
                # A list of one path would be taken for a path.
                some = self._call(self._fs._cat, paths, on_error="return", within_s=MANY_S)
                found += [_found(some[path]) for path in paths]
        return found

    def create(self, key: str, data: bytes) -> bool:
        """Put an object where there is none; False if there is one, which stays as it is."""
        with self._calling():
            try:
                self._upload(key, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # S3 says 409 where another one is just being put: that one is the first.
                if _status(error) in (409, 412):
                    return False
                raise
        return True

    def put(self, key: str, data: bytes) -> None:
        """Put an object, in place of one that may be there."""
        with self._calling():
            self._upload(key, data)

    def names(self, folder: str) -> list[str]:
        """The last parts of the keys under a folder."""
        with self._calling():
            try:
                self._fs.invalidate_cache()
                paths = self._call(self._fs._ls, self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        # Some servers keep an object for the folder itself.
        return [name for path in paths if (name := str(path).rpartition("/")[2])]

    def remove(self, keys: Sequence[str]) -> None:
        """Remove some objects, as far as they are there."""
        with self._calling():
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    self._call(self._fs._rm_file, self._path(key))

    def _upload(self, key: str, data: bytes, **options: str) -> None:
        within_s = CALL_S + BYTE_S * len(data)
        self._call(self._fs._pipe_file, self._path(key), data, within_s=within_s, **options)

    def _call(self, call: Any, *arguments: Any, within_s: float = CALL_S, **options: Any) -> Any:
        """A coroutine of the file system, in fsspec's loop, cancelled when it takes too long."""
        return self._sync(self._fs.loop, call, *arguments, timeout=within_s, **options)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Whatever the libraries raise, which is a lot, is one error here."""
        try:
            yield
        except Exception as error:
            if not self._down:
                logger.error("the registry's storage cannot be used: %s", kind_of(error))
            self._down = True
            raise StorageUnavailable(
                "the registry's storage cannot be used", retry_after=5
            ) from None
        if self._down:
            logger.info("the registry's storage answers again")
        self._down = False


def _found(value: Any) -> bytes | None:
    if isinstance(value, FileNotFoundError):
        return None
    if isinstance(value, BaseException):
        raise value
    return bytes(value)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of botocore came with."""
    response = getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def kind_of(error: BaseException) -> str:
    """An error without its message: its type, and that of what caused it."""
    names = [type(error).__name__]
    if error.__cause__ is not None:
        names.append(type(error.__cause__).__name__)
    status = _status(error)
    return " from ".join(names) + (f" (status {status})" if status else "")
