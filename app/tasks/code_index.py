"""The stored codes of one encoder in the memory of this process, to be searched.

They are read from the cache when first asked for, in the background, and read anew when they are
old. What was deleted since is found out when an answer is made (`app.tasks.similar`); what was
stored since is missing until then, but for what this process itself was asked about (`add`).

Every process reads for itself, and forgets all when nobody asks for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.cache.code_cache import CodeCache
from app.cache.keys import DIGEST_BYTES
from app.errors import CacheUnavailable
from models.codes import Codes, stack_codes
from models.encoder import EncoderInfo

logger = logging.getLogger(__name__)

CHUNK = 32_768  # codes searched in a row; between two, requests have their turn
MAX_FRESH = 8_192
REFRESH_S = 30.0  # older than that, codes are read anew when somebody asks
REST = 20  # but reading rests for so many times as long as it took
WAIT_S = 10.0  # for codes to be read, before the caller is told to come again
IDLE_S = 900.0


class Chunk(NamedTuple):
    """Some codes: `(n, 16)` digests and `(n, width)` codes."""

    digests: NDArray[np.uint8]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Table:
    """All codes of one reading. `started` and `seconds` are of its clock (monotonic)."""

    fingerprint: str
    chunks: tuple[Chunk, ...]
    complete: bool
    started: float
    seconds: float

    def __len__(self) -> int:
        return sum(len(chunk.codes) for chunk in self.chunks)

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.started > max(REFRESH_S, REST * self.seconds)


class CodeIndex:
    """Keeps a `Table` of the running encoder.

    Args:
        cache: is read.
        max_codes: how many are held at most.
    """

    def __init__(self, cache: CodeCache, max_codes: int) -> None:
        self._cache = cache
        self._max_codes = max_codes
        self._table: Table | None = None
        self._fresh: dict[bytes, tuple[float, bytes]] = {}
        self._reading: tuple[str, asyncio.Task[None]] | None = None
        self._count = 0  # read by the reading that goes on
        self._fingerprint = ""
        self._idle: asyncio.TimerHandle | None = None

    async def current(self, info: EncoderInfo, max_age_s: float | None) -> Table:
        """The codes of an encoder, with what was added since they were read.

        Args:
            info: of the encoder.
            max_age_s: how long ago they may have been read; None: what is there is good enough.

        Raises:
            CacheUnavailable: the server does not answer, or has not given them all yet.
        """
        now = time.monotonic()
        self._stay_for(IDLE_S)
        self._use_for(info.fingerprint)
        wanted = -math.inf if max_age_s is None else now - max_age_s
        while (table := self._table) is None or table.started < wanted:
            await self._wait(self._reader(info), now + WAIT_S)
        if table.is_old:
            self._reader(info)
        return self._with_fresh(table)

    def add(self, fingerprint: str, codes: Iterable[tuple[bytes, bytes]]) -> None:
        """Codes by digest that were stored just now; the oldest make room."""
        self._use_for(fingerprint)
        now = time.monotonic()
        self._fresh |= {digest: (now, code) for digest, code in codes}
        for digest in list(self._fresh)[: max(0, len(self._fresh) - MAX_FRESH)]:
            del self._fresh[digest]

    def forget(self) -> None:
        """Give the memory back."""
        self._table = None
        self._fresh = {}

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._reading is not None:
            self._reading[1].cancel()
            await asyncio.gather(self._reading[1], return_exceptions=True)

    def _use_for(self, fingerprint: str) -> None:
        if fingerprint != self._fingerprint:
            self.forget()
            self._fingerprint = fingerprint

    def _stay_for(self, seconds: float) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(seconds, self.forget)

    def _reader(self, info: EncoderInfo) -> asyncio.Task[None]:
        """The reading that goes on; one is begun where there is none."""
        if self._reading is not None:
            fingerprint, task = self._reading
            if fingerprint == info.fingerprint and not task.done():
                return task
            task.cancel()
        task = asyncio.create_task(self._read(info), name="read-codes")
        task.add_done_callback(_look_at)
        self._reading = (info.fingerprint, task)
        return task

    async def _wait(self, reader: asyncio.Task[None], until: float) -> None:
        left = until - time.monotonic()
        await asyncio.wait([reader], timeout=max(0.0, left))
        if not reader.done():
            raise CacheUnavailable(
                f"codes are being read to be searched: {self._count} so far",
                code="index_building",
                retry_after=5,
            )
        if not reader.cancelled() and reader.exception() is not None:
            raise CacheUnavailable(str(reader.exception()), retry_after=2)

    async def _read(self, info: EncoderInfo) -> None:
        """Read all codes into a new table, which then takes the place of the old one."""
        started = time.monotonic()
        chunks: list[Chunk] = []
        held: dict[bytes, bytes] = {}
        self._count, complete = 0, True
        pages = self._cache.stored(info.fingerprint, info.code_bytes)
        async with contextlib.aclosing(pages):
            async for page in pages:
                held |= page
                if len(held) < CHUNK:
                    continue
                chunks.append(await asyncio.to_thread(_chunk_of, held))
                self._count += len(held)
                held = {}
                if self._count >= self._max_codes:
                    complete = False
                    break
        if held:
            chunks.append(_chunk_of(held))
        if info.fingerprint != self._fingerprint:
            return  # the encoder changed meanwhile
        self._table = Table(
            info.fingerprint, tuple(chunks), complete, started, time.monotonic() - started
        )
        self._fresh = {key: value for key, value in self._fresh.items() if value[0] >= started}

    def _with_fresh(self, table: Table) -> Table:
        if not self._fresh:
            return table
        fresh = _chunk_of({digest: code for digest, (_, code) in self._fresh.items()})
        return replace(table, chunks=(*table.chunks, fresh))


def _chunk_of(codes: dict[bytes, bytes]) -> Chunk:
    digests = np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    return Chunk(digests, stack_codes(list(codes.values())))


def _look_at(reader: asyncio.Task[None]) -> None:
    """Take note of a reading that nobody waited for and that failed."""
    if not reader.cancelled() and (error := reader.exception()) is not None:
        logger.warning("reading codes to be searched failed: %s", type(error).__name__)
