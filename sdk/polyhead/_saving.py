"""A large answer, written to a file as it comes; its end says whether it is whole."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ._errors import ProtocolError, Unavailable

PARQUET_END = b"PAR1"


class Saving:
    """Writes beside `path`, and puts the file in its place when it is whole."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is written yet."""
        self._path = Path(path)
        self._partial = self._path.with_name(self._path.name + ".part")

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._partial.open("wb")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the file if all went well; else leave nothing behind."""
        self._file.close()
        if exc_type is None:
            self._partial.replace(self._path)
        else:
            with suppress(OSError):
                self._partial.unlink()

    def write(self, chunk: bytes) -> None:
        """Some bytes of the answer."""
        self._file.write(chunk)

    def last(self) -> object:
        """What the end of the answer says of it."""
        return None


class SavingLines(Saving):
    """An answer of lines. The last one is kept back: it is not a result."""

    _held = b""

    def write(self, chunk: bytes) -> None:
        """Some bytes of the answer."""
        data = self._held + chunk
        # All but the last line, which may go on: its end is not there yet, or is the answer's.
        cut = data.rfind(b"\n", 0, max(0, len(data) - 1)) + 1
        self._file.write(data[:cut])
        self._held = data[cut:]

    def last(self) -> object:
        """The last line, decoded.

        Raises:
            ProtocolError: The answer was cut off.
            Unavailable: The service could not go on.
        """
        try:
            value: object = json.loads(self._held)
        except (ValueError, RecursionError):
            raise ProtocolError("unexpected answer: its last line is cut off") from None
        error = value.get("error") if isinstance(value, dict) else None
        if isinstance(error, dict):
            raise Unavailable(503, str(error.get("message")), code=str(error.get("code")))
        return value


class SavingTable(Saving):
    """An answer that is a Parquet file: it is whole if its footer is there."""

    _tail = b""

    def write(self, chunk: bytes) -> None:
        """Some bytes of the answer."""
        super().write(chunk)
        self._tail = (self._tail + chunk)[-len(PARQUET_END) :]

    def last(self) -> object:
        """The last bytes.

        Raises:
            Unavailable: The service could not go on.
        """
        if self._tail != PARQUET_END:
            raise Unavailable(503, "the answer is cut off", code="cache_unavailable")
        return self._tail
