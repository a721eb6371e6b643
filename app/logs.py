"""Logs: lines for people, or JSON for machines; both with the id of the request they are about.

No text, no code, no API key: messages say names, counts, times and the types of errors.
"""

from __future__ import annotations

import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

# The id that the answer carries in `x-request-id`; empty outside of requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# What a record has anyway; the rest was given with it.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class QuietFormatter(logging.Formatter):
    """Of an exception where it came from and its type: its message can hold what a caller sent."""

    def formatException(self, ei: Any) -> str:
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            part = [*traceback.format_tb(error.__traceback__), type(error).__qualname__]
            lines[:0] = [*part, "\n"] if lines else part
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "".join(lines)


class JsonFormatter(QuietFormatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if name := request_id.get():
            line["request_id"] = name
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def set_up_logs(level: str, form: Literal["text", "json"]) -> None:
    """Log to standard error from `level` up."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else QuietFormatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
