"""The code cache: a front cache in this process, then Redis or Valkey.

It may make a request slower, never wrong and never fail: errors of the server are counted misses,
and a breaker keeps a dead server from costing a time-out a request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.cache.breaker import Breaker
from app.cache.front import FrontCache
from app.cache.keys import DIGEST_BYTES, StoredCode, decode_value, encode_value, server_key
from app.metrics import Metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")
MAX_SHARED_KEYS = 2048
PAGE = 1_000  # codes that a scan reads at once
# Nobody waits for a scan by the millisecond: it survives a restart of the server.
SCAN_ATTEMPTS = 6
SCAN_WAIT_S = 0.25


class CacheGone(Exception):
    """The server that holds the codes does not answer."""


@dataclass(frozen=True, slots=True)
class _SharedGet:
    """Keys that go to the server together, and what becomes of them."""

    keys: list[bytes]
    values: asyncio.Future[Sequence[bytes | None]]


class CodeCache:
    """Codes by digest.

    Args:
        redis: the server, or None to have the front cache alone.
        front: the in-process cache.
        metrics: hits, misses, errors.
        ttl_s: expiry of stored codes; 0 for none.
    """

    def __init__(
        self, redis: Redis | None, front: FrontCache, metrics: Metrics, *, ttl_s: int = 0
    ) -> None:
        self._redis = redis
        self._front = front
        self._metrics = metrics
        self._ttl_s = ttl_s
        self._breaker = Breaker()
        self._gathering: _SharedGet | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether the last thing heard from the server was an answer."""
        return self._redis is not None and self._breaker.is_closed

    async def get_many(
        self, fingerprint: str, code_bytes: int, digests: Sequence[bytes]
    ) -> list[StoredCode | None]:
        """Stored codes, None where there is none. One round trip at most.

        Args:
            fingerprint: of the encoder.
            code_bytes: width of its codes; anything of another width is a miss.
            digests: from `digest_texts`.
        """
        found = self._front.get_many(digests)
        missing = [place for place, stored in enumerate(found) if stored is None]
        if missing:
            keys = [server_key(fingerprint, digests[place]) for place in missing]
            values = await self._mget(keys)
            for place, key, value in zip(missing, keys, values, strict=True):
                if value is None:
                    continue
                stored = decode_value(key, value, code_bytes)
                if stored is None:
                    self._metrics.cache_errors.labels("bad_value").inc()
                    continue
                found[place] = stored
                self._front.put(digests[place], stored)
        misses = found.count(None)
        self._metrics.cache_hits.inc(len(found) - misses)
        self._metrics.cache_misses.inc(misses)
        return found

    def recent(self, digest: bytes) -> StoredCode | None:
        """What the front cache holds: all that this process stored of late."""
        return self._front.get_many((digest,))[0]

    async def set_many(self, fingerprint: str, codes: dict[bytes, StoredCode]) -> None:
        """Store codes by digest, in one round trip."""
        for digest, stored in codes.items():
            self._front.put(digest, stored)
        if self._redis is None or not codes or not self._breaker.allows(time.monotonic()):
            return
        values: dict[bytes, bytes] = {}
        for digest, stored in codes.items():
            key = server_key(fingerprint, digest)
            values[key] = encode_value(key, stored)
        try:
            await self._set(self._redis, values)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("set", error)
        else:
            self._breaker.succeeded()

    async def _set(self, redis: Redis, values: dict[bytes, bytes]) -> None:
        if not self._ttl_s:
            await redis.mset(values)  # a third to a fifth of what as many SETs cost here
            return
        pipeline = redis.pipeline(transaction=False)
        for key, value in values.items():
            pipeline.set(key, value, ex=self._ttl_s)
        await pipeline.execute()

    async def stored(self, fingerprint: str, code_bytes: int) -> AsyncIterator[dict[bytes, bytes]]:
        """All codes of an encoder that the server holds, by digest, in pages.

        A code that is there all the while comes at least once, perhaps twice.

        Args:
            fingerprint: of the encoder.
            code_bytes: width of its codes; anything of another width is left out.

        Raises:
            CacheGone: the server does not answer.
        """
        head = server_key(fingerprint, b"")
        for _ in range(SCAN_ATTEMPTS):
            server = await self._patiently(_run_id)
            cursor, pattern = 0, _glob(head) + b"*"
            while True:
                cursor, found = await self._patiently(partial(_page, pattern, len(head), cursor))
                codes = {}
                for key, value in found.items():
                    decoded = None if value is None else decode_value(key, value, code_bytes)
                    if decoded is not None:
                        codes[key[len(head) :]] = decoded.code
                yield codes
                if cursor == 0:
                    break
            # A server that was started again hashes otherwise: a cursor then leads past codes.
            if await self._patiently(_run_id) == server:
                return
        raise CacheGone("the server that holds codes is started again and again")

    async def _patiently(self, ask: Callable[[Redis], Awaitable[T]]) -> T:
        if self._redis is None:
            raise CacheGone("there is no server that holds codes")
        for attempt in range(SCAN_ATTEMPTS):
            try:
                return await ask(self._redis)
            except (RedisError, OSError, TimeoutError) as error:
                self._metrics.cache_errors.labels("scan").inc()
                reason = type(error).__name__
                await asyncio.sleep(SCAN_WAIT_S * (attempt + 1))
        raise CacheGone(f"the server that holds codes does not answer ({reason})")

    async def ping(self) -> bool:
        """Ask the server itself, whatever the breaker says (for /ready and /v1/stats)."""
        if self._redis is None:
            return False
        try:
            await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("ping", error)
            return False
        self._breaker.succeeded()
        return True

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _mget(self, keys: list[bytes]) -> Sequence[bytes | None]:
        """Values of keys. Requests that ask in one turn of the event loop share a round trip."""
        if self._redis is None:
            return [None] * len(keys)
        shared = self._gathering
        if shared is None or len(shared.keys) + len(keys) > MAX_SHARED_KEYS:
            loop = asyncio.get_running_loop()
            shared = self._gathering = _SharedGet([], loop.create_future())
            loop.call_soon(self._send, shared)
        start = len(shared.keys)
        shared.keys.extend(keys)
        values = await asyncio.shield(shared.values)  # others wait for it too
        return values[start : start + len(keys)]

    def _send(self, shared: _SharedGet) -> None:
        if self._gathering is shared:
            self._gathering = None
        task = asyncio.ensure_future(self._fetch(shared))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, shared: _SharedGet) -> None:
        values: Sequence[bytes | None] = [None] * len(shared.keys)
        try:
            if self._redis is not None and self._breaker.allows(time.monotonic()):
                found = await self._redis.mget(shared.keys)
                values = cast(Sequence[bytes | None], found)  # bytes: the client decodes nothing
                self._breaker.succeeded()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("get", error)
        finally:
            if not shared.values.done():
                shared.values.set_result(values)

    def _failed(self, operation: str, error: Exception) -> None:
        if self._breaker.is_closed:
            # The type alone: a message can hold addresses or values.
            logger.warning("cache %s failed: %s; going on without", operation, type(error).__name__)
        self._breaker.failed(time.monotonic())
        self._metrics.cache_errors.labels(operation).inc()


async def _run_id(redis: Redis) -> str:
    """Which run of the server this is."""
    info = await redis.info("server")
    return str(info["run_id"])


async def _page(
    pattern: bytes, head: int, cursor: int, redis: Redis
) -> tuple[int, dict[bytes, bytes | None]]:
    """Some keys that a pattern matches, with their values, and where to go on."""
    after, keys = await redis.scan(cursor, pattern, PAGE)
    # Keys of others may begin as ours do. The client decodes nothing: all are bytes.
    own = [cast(bytes, key) for key in keys if len(key) == head + DIGEST_BYTES]
    values = await redis.mget(own) if own else []
    return int(after), dict(zip(own, cast(Sequence[bytes | None], values), strict=True))


def _glob(text: bytes) -> bytes:
    """A pattern that matches these very bytes."""
    return re.sub(rb"([*?\[\]\\^-])", rb"\\\1", text)
