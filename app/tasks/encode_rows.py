"""Encoding many texts in the background, through the cache like everyone, at a measured pace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.call import Call
from app.errors import Conflict, EncoderUnavailable, Overloaded
from app.tasks.lookup import Lookup
from models.codes import Codes, stack_codes
from models.encoder import EncoderInfo

CHUNK = 128
CHUNKS_AT_ONCE = 2  # one on the device while the next is tokenized; the rest is for live traffic
PATIENCE_S = 60.0  # how long to wait for an overloaded or absent encoder
Progress = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Codes of texts, `(n, bits // 8)`, and what they cost."""

    info: EncoderInfo
    codes: Codes
    usage: dict[str, int]


async def encode_rows(lookup: Lookup, texts: list[str], progress: Progress) -> Encoded:
    """Codes of texts, in order.

    Args:
        lookup: finds or makes them.
        texts: any number.
        progress: is told the share that is done, now and then.

    Raises:
        Conflict: the encoder changed in the middle.
        EncoderUnavailable, Overloaded: for longer than `PATIENCE_S`.
    """
    if not texts:
        info = await lookup.info()
        no_codes = np.zeros((0, info.code_bytes), dtype=np.uint8)
        return Encoded(info, no_codes, {"inputs": 0, "cached": 0, "encoded": 0})
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    collected = _Collected(len(chunks))
    places = iter(range(len(chunks)))

    async def work() -> None:
        for place in places:
            await _encode_chunk(lookup, chunks[place], collected, place)
            await progress(collected.done / len(chunks))

    async with _first_error_alone(), asyncio.TaskGroup() as group:
        for _ in range(CHUNKS_AT_ONCE):
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
            collected.add(place, looked.info, [s.code for s in looked.codes], looked.usage())
            return


class _Collected:
    """Codes of chunks that come in any order."""

    def __init__(self, chunks: int) -> None:
        self._codes: list[list[bytes]] = [[] for _ in range(chunks)]
        self._info: EncoderInfo | None = None
        self._usage = {"inputs": 0, "cached": 0, "encoded": 0}
        self.done = 0

    def add(self, place: int, info: EncoderInfo, codes: list[bytes], usage: dict[str, int]) -> None:
        if self._info is not None and self._info.fingerprint != info.fingerprint:
            raise Conflict("the encoder changed during the training; start it again")
        self._info = info
        self._codes[place] = codes
        for name in self._usage:
            self._usage[name] += usage[name]
        self.done += 1

    def result(self) -> Encoded:
        assert self._info is not None
        codes = stack_codes([code for chunk in self._codes for code in chunk])
        return Encoded(self._info, codes, self._usage)


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
