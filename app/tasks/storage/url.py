"""Reads `POLYHEAD_REGISTRY_URL`. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, cast, get_args

Scheme = Literal["file", "s3", "gs", "az"]
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9._=+-]+", re.ASCII)


class RegistryUrl(NamedTuple):
    """Where the registry is: a folder's path, or `bucket/prefix`."""

    scheme: Scheme
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"


def parse_registry_url(url: str) -> RegistryUrl:
    """Take a URL apart.

    Raises:
        ValueError: it is none of those that can hold a registry. It is not repeated: somebody may
            have put a password into it.
    """
    scheme, separator, path = url.partition("://")
    if not separator or scheme not in get_args(Scheme):
        raise ValueError("expected file:///folder, s3://bucket/prefix, gs:// or az://")
    if scheme == "file":
        if not path.startswith("/"):
            raise ValueError("expected file:///folder with the whole path")
        return RegistryUrl("file", path)
    bucket, *parts = path.rstrip("/").split("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(
            f"expected {scheme}://bucket/prefix; credentials are not part of it, they come from "
            "the environment"
        )
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise ValueError("the prefix may have letters, digits and . _ = + - between its slashes")
    return RegistryUrl(cast(Scheme, scheme), "/".join([bucket, *parts]))
