"""An answer of many lines, written to a file as it comes; its last line says how it ended."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ._errors import ProtocolError, Unavailable


class Saving:
    """Writes beside `path`, and puts the file in its place when it is whole.

    The last line is kept back: it is not a result.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is written yet."""
        self._path = Path(path)
        self._partial = self._path.with_name(self._path.name + ".part")
        self._held = b""

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
