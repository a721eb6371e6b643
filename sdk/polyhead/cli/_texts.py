"""Texts from arguments or from stdin, in batches that do not wait for texts to come."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from .._each import Bad
from ._output import note

BATCH = 256
"""Texts asked about at once: what the client puts into one request."""

AHEAD = 4 * BATCH
"""Lines read before they are asked about: more would only take memory."""


def batches(
    texts: Sequence[str] | None, json_field: str | None = None, stream: BinaryIO | None = None
) -> Iterator[list[object]]:
    """Texts, or `Bad` in the place of a line that holds none.

    Args:
        texts: Given as arguments; none, or `-` alone: lines of stdin.
        json_field: stdin holds JSON objects, and the text is in this field.
        stream: In place of stdin.
    """
    if texts and list(texts) != ["-"]:
        for start in range(0, len(texts), BATCH):
            yield list(texts[start : start + BATCH])
        return
    stream = stream or sys.stdin.buffer
    if stream.isatty():
        note("reading texts, one a line; Ctrl-D ends")
    lines: queue.Queue[bytes | None] = queue.Queue(AHEAD)
    # A thread of its own: a line that is there is answered while the next is waited for.
    threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
    ended = False
    while not ended:
        batch: list[object] = []
        line = lines.get()
        while line is not None:
            batch.append(_text(line, json_field))
            if len(batch) == BATCH or lines.empty():
                break
            line = lines.get()
        ended = line is None
        if batch:
            yield batch


def _read(stream: BinaryIO, lines: queue.Queue[bytes | None]) -> None:
    try:
        for line in stream:
            lines.put(line)
    finally:
        lines.put(None)


def _text(line: bytes, json_field: str | None) -> object:
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return Bad("the line is not UTF-8")
    if json_field is None:
        return text
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return Bad("the line is not JSON")
    if not isinstance(row, dict) or json_field not in row:
        return Bad(f"the line is no object with {json_field!r}")
    return row[json_field]
