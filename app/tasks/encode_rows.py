"""Encoding many texts in the background, through the cache like everyone, at a measured pace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.cache.keys import StoredCode
from app.call import Call
from app.errors import Conflict, EncoderUnavailable, Overloaded
from app.tasks.lookup import Looked, Lookup
from models.codes import Codes, stack_codes
from models.encoder import EncoderInfo

CHUNK = 128
CHUNKS_AT_ONCE = 2  # one on the device while the next is tokenized; the rest is for live traffic
PATIENCE_S = 60.0  # how long to wait for an overloaded or absent encoder
Progress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Codes of texts, `(n, bits // 8)`, what they cost, and which texts were cut."""

    info: EncoderInfo
    codes: Codes
    usage: dict[str, int]
    truncated: NDArray[np.bool_]


async def encode_rows(
    lookup: Lookup,
    texts: list[str],
    progress: Progress,
    *,
    chunk: int = CHUNK,
    at_once: int = CHUNKS_AT_ONCE,
) -> Encoded:
    """Codes of texts, in order.

    Args:
        lookup: finds or makes them.
        texts: any number.
        progress: is told the share that is done, now and then.
        chunk: texts looked up together; no more than the lookup's limit.
        at_once: chunks under way together.

    Raises:
        Conflict: the encoder changed in the middle.
        EncoderUnavailable, Overloaded: for longer than `PATIENCE_S`.
    """
    if not texts:
        info = await lookup.info()
        no_codes = np.zeros((0, info.code_bytes), dtype=np.uint8)
        usage = {"inputs": 0, "cached": 0, "encoded": 0}
        return Encoded(info, no_codes, usage, np.zeros(0, dtype=np.bool_))
    chunks = [texts[start : start + chunk] for start in range(0, len(texts), chunk)]
    collected = _Collected(len(chunks))
    places = iter(range(len(chunks)))

    async def work() -> None:
        for place in places:
            await _encode_chunk(lookup, chunks[place], collected, place)
            await progress(collected.done / len(chunks))

    async with _first_error_alone(), asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return collected.result()


async def _encode_chunk(
    lookup: Lookup, texts: list[str], collected: _Collected, place: int
) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            looked = await lookup.texts(texts, Call())
        except (Overloaded, EncoderUnavailable) as error:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(min(2.0, error.retry_after or 1.0))
        else:
            collected.add(place, looked)
            return


class _Collected:
    """Codes of chunks that come in any order."""

    def __init__(self, chunks: int) -> None:
        self._codes: list[list[StoredCode]] = [[] for _ in range(chunks)]
        self._info: EncoderInfo | None = None
        self._usage = {"inputs": 0, "cached": 0, "encoded": 0}
        self.done = 0

    def add(self, place: int, looked: Looked) -> None:
        if self._info is not None and self._info.fingerprint != looked.info.fingerprint:
            raise Conflict("the encoder changed in between; start it again")
        self._info = looked.info
        self._codes[place] = looked.codes
        usage = looked.usage()
        for name in self._usage:
            self._usage[name] += usage[name]
        self.done += 1

    def result(self) -> Encoded:
        assert self._info is not None
        stored = [code for chunk in self._codes for code in chunk]
        codes = stack_codes([one.code for one in stored])
        truncated = np.array([one.truncated for one in stored], dtype=np.bool_)
        return Encoded(self._info, codes, self._usage, truncated)


@contextlib.asynccontextmanager
async def _first_error_alone() -> Any:
    """Let a task group's first error through by itself."""
    try:
        yield
    except* Exception as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
