"""The code cache: a front cache in this process, then Redis or Valkey.

It may make a request slower, never wrong and never fail: errors of the server are counted misses,
and a breaker keeps a dead server from costing a time-out a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.cache.breaker import Breaker
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, decode_value, encode_value, server_key
from app.metrics import Metrics

logger = logging.getLogger(__name__)


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

    async def set_many(self, fingerprint: str, codes: dict[bytes, StoredCode]) -> None:
        """Store codes by digest, in one pipelined round trip."""
        for digest, stored in codes.items():
            self._front.put(digest, stored)
        if self._redis is None or not codes or not self._breaker.allows(time.monotonic()):
            return
        expiry = self._ttl_s or None
        pipeline = self._redis.pipeline(transaction=False)
        for digest, stored in codes.items():
            key = server_key(fingerprint, digest)
            pipeline.set(key, encode_value(key, stored), ex=expiry)
        try:
            await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("set", error)
        else:
            self._breaker.succeeded()

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
        if self._redis is None or not self._breaker.allows(time.monotonic()):
            return [None] * len(keys)
        try:
            values = await self._redis.mget(keys)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("get", error)
            return [None] * len(keys)
        self._breaker.succeeded()
        return cast(Sequence[bytes | None], values)  # bytes: the client decodes nothing

    def _failed(self, operation: str, error: Exception) -> None:
        if self._breaker.is_closed:
            # The type alone: a message can hold addresses or values.
            logger.warning("cache %s failed: %s; going on without", operation, type(error).__name__)
        self._breaker.failed(time.monotonic())
        self._metrics.cache_errors.labels(operation).inc()
