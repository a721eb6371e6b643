"""The code cache: a front cache in this process, then Redis or Valkey.

It may make a request slower, never wrong and never fail: errors of the server are counted misses,
and a breaker keeps a dead server from costing a time-out a request: while it is open no request
waits for the server, and now and then one is sent along to see whether it answers again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from app.cache.breaker import Breaker
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, decode_values, encode_value
from app.cache.server import Reply, ServerError
from app.cache.store import CodeStore
from app.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_SHARED_DIGESTS = 2048
# Of gets; writes are few. Together fewer than the connections of a pool, which would refuse.
MAX_ROUND_TRIPS = 128
# Nobody waits for a scan by the millisecond: it survives a restart of the server.
SCAN_ATTEMPTS = 6
SCAN_WAIT_S = 0.25
QUIET_S = 60.0  # between warnings of errors that a server answers with


class CacheGone(Exception):
    """The server that holds the codes does not answer."""


@dataclass(frozen=True, slots=True)
class _SharedGet:
    """Digests that go to the server together, and what becomes of them."""

    fingerprint: str
    digests: list[bytes]
    replies: asyncio.Future[Sequence[Reply]]


class CodeCache:
    """Codes by digest.

    Args:
        store: where codes are kept, or None to have the front cache alone.
        front: the in-process cache.
        metrics: hits, misses, errors.
    """

    def __init__(self, store: CodeStore | None, front: FrontCache, metrics: Metrics) -> None:
        self._store = store
        self._front = front
        self._metrics = metrics
        self._breaker = Breaker()
        self._quiet_until = 0.0
        self._front_fingerprint = ""
        self._asking = asyncio.Semaphore(MAX_ROUND_TRIPS)
        self._gathering: _SharedGet | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether the last thing heard from the server was an answer."""
        return self._store is not None and self._breaker.is_closed

    async def get_many(
        self, fingerprint: str, code_bytes: int, digests: Sequence[bytes]
    ) -> list[StoredCode | None]:
        """Stored codes, None where there is none. One round trip at most.

        Args:
            fingerprint: of the encoder.
            code_bytes: width of its codes; anything of another width is a miss.
            digests: from `digest_texts`.
        """
        self._use_front_for(fingerprint)
        found = self._front.get_many(digests)
        missing = [place for place, stored in enumerate(found) if stored is None]
        if missing:
            asked = digests
            if len(missing) < len(digests):
                asked = [digests[place] for place in missing]
            epoch = self._front.epoch
            replies = await self._get(fingerprint, asked)
            codes = decode_values(fingerprint, code_bytes, zip(asked, replies, strict=True))
            if None in codes:
                self._count_bad(replies, codes)
            if epoch == self._front.epoch:  # not emptied meanwhile
                self._front.put_many(asked, codes)
            if asked is digests:
                found = codes
            else:
                for place, stored in zip(missing, codes, strict=True):
                    found[place] = stored
        misses = found.count(None)
        self._metrics.cache_hits.inc(len(found) - misses)
        self._metrics.cache_misses.inc(misses)
        return found

    async def kept(
        self, fingerprint: str, code_bytes: int, digests: Sequence[bytes]
    ) -> list[StoredCode | None]:
        """`get_many` of what nobody asked for: the server alone says, and nothing is counted.

        Raises:
            CacheGone: the server does not answer.
        """
        found: list[StoredCode | None] = []
        for start in range(0, len(digests), MAX_SHARED_DIGESTS):
            some = digests[start : start + MAX_SHARED_DIGESTS]
            replies = await self._get(fingerprint, some)
            if not self.is_up:
                raise CacheGone("the server that holds codes does not answer")
            found += decode_values(fingerprint, code_bytes, zip(some, replies, strict=True))
        return found

    def recent(self, digest: bytes) -> StoredCode | None:
        """What the front cache holds: all that this process stored of late."""
        return self._front.get_many((digest,))[0]

    async def set_many(self, fingerprint: str, codes: dict[bytes, StoredCode]) -> None:
        """Store codes by digest, in one round trip."""
        self._use_front_for(fingerprint)
        for digest, stored in codes.items():
            self._front.put(digest, stored)
        if self._store is None or not codes:
            return
        if self._breaker.is_closed:
            await self._put(self._store, fingerprint, codes)
        elif self._breaker.allows(time.monotonic()):  # nobody waits for a trial
            self._in_background(self._put(self._store, fingerprint, codes))

    async def stored(self, fingerprint: str, code_bytes: int) -> AsyncGenerator[dict[bytes, bytes]]:
        """All codes of an encoder that the server holds, by digest, in pages.

        A code that is there all the while comes at least once, perhaps twice.

        Args:
            fingerprint: of the encoder.
            code_bytes: width of its codes; anything of another width is left out.

        Raises:
            CacheGone: the server does not answer.
        """
        if self._store is None:
            raise CacheGone("there is no server that holds codes")
        position, failures = "", 0
        while True:
            try:
                async for page in self._store.scan(fingerprint, position):
                    found = decode_values(fingerprint, code_bytes, page.values.items())
                    yield {
                        digest: stored.code
                        for digest, stored in zip(page.values, found, strict=True)
                        if stored is not None
                    }
                    position, failures = page.position, 0
                return
            except ServerError as error:
                self._metrics.cache_errors.labels("scan").inc()
                failures += 1
                if failures >= SCAN_ATTEMPTS:
                    raise CacheGone(
                        f"the server that holds codes does not answer ({type(error).__name__})"
                    ) from error
                await asyncio.sleep(SCAN_WAIT_S * failures)

    async def ping(self) -> bool:
        """Ask the server itself, whatever the breaker says (for /ready and /v1/stats)."""
        if self._store is None:
            return False
        try:
            await self._store.ping()
        except ServerError as error:
            self._failed("ping", error)
            return False
        self._breaker.succeeded()
        return True

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.close()

    def _use_front_for(self, fingerprint: str) -> None:
        """Empty the front cache when the encoder is another one.

        Its digests differ, but a caller can name a digest of the former encoder's as a key.
        """
        if fingerprint != self._front_fingerprint:
            self._front.clear()
            self._front_fingerprint = fingerprint

    async def _put(
        self, store: CodeStore, fingerprint: str, codes: dict[bytes, StoredCode]
    ) -> None:
        values = {
            digest: encode_value(fingerprint, digest, stored) for digest, stored in codes.items()
        }
        try:
            errors = await store.put(fingerprint, values)
        except ResponseError as error:
            errors = [error]
        except ServerError as error:
            self._failed("set", error)
            return
        self._breaker.succeeded()
        if errors:  # it answers, but takes no codes: full, read-only, or not allowed
            self._count("set", errors[0])

    def _count_bad(self, replies: Sequence[Reply], codes: Sequence[StoredCode | None]) -> None:
        """Count values that are no codes."""
        pairs = zip(replies, codes, strict=True)
        bad = sum(stored is None and isinstance(reply, bytes) for reply, stored in pairs)
        if bad:
            self._metrics.cache_errors.labels("bad_value").inc(bad)

    async def _get(self, fingerprint: str, digests: Sequence[bytes]) -> Sequence[Reply]:
        """Replies to digests. Requests of one turn of the event loop share a round trip."""
        if self._store is None:
            return [None] * len(digests)
        shared = self._gathering
        if (
            shared is None
            or shared.fingerprint != fingerprint
            or len(shared.digests) + len(digests) > MAX_SHARED_DIGESTS
        ):
            loop = asyncio.get_running_loop()
            shared = self._gathering = _SharedGet(fingerprint, [], loop.create_future())
            loop.call_soon(self._send, shared)
        start = len(shared.digests)
        shared.digests.extend(digests)
        replies = await asyncio.shield(shared.replies)  # others wait for it too
        return replies[start : start + len(digests)]

    def _send(self, shared: _SharedGet) -> None:
        if self._gathering is shared:
            self._gathering = None
        self._in_background(self._fetch(shared))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, shared: _SharedGet) -> None:
        assert self._store is not None
        replies: Sequence[Reply] = [None] * len(shared.digests)
        try:
            if not self._breaker.is_closed:
                shared.replies.set_result(replies)  # nobody waits for a trial
                if not self._breaker.allows(time.monotonic()):
                    return
            async with self._asking:
                if shared.replies.done() or self._breaker.is_closed:  # it may have opened since
                    replies = await self._store.get(shared.fingerprint, shared.digests)
                    self._heard(replies)
        except ServerError as error:
            self._failed("get", error)
        finally:
            if not shared.replies.done():
                shared.replies.set_result(replies)

    def _heard(self, replies: Sequence[Reply]) -> None:
        """Take note of errors in the place of values."""
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        others = [error for error in errors if not str(error).startswith("WRONGTYPE")]
        if len(others) < len(errors):  # foreign values under our keys
            self._metrics.cache_errors.labels("bad_value").inc(len(errors) - len(others))
        if others:  # not allowed, or a node of a cluster is down: the rest goes on
            self._count("get", others[0])
        self._breaker.succeeded()

    def _failed(self, operation: str, error: Exception) -> None:
        if self._breaker.is_closed:
            # The type alone: a message can hold addresses or values.
            logger.warning("cache %s failed: %s; going on without", operation, type(error).__name__)
        self._breaker.failed(time.monotonic())
        self._metrics.cache_errors.labels(operation).inc()

    def _count(self, operation: str, error: Exception) -> None:
        """Count an answer that is an error; say so once in a while."""
        self._metrics.cache_errors.labels(operation).inc()
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            logger.warning("the cache answered a %s with %s", operation, type(error).__name__)
