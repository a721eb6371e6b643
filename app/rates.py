"""So many texts a time for each client, shared by all processes that share a Redis.

Counting is `limits`' (a sliding window in one script, one round trip). A Redis that is gone lets
requests through, counted: a limit that is not kept for a while is better than no answers.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from limits import RateLimitItem
from limits import parse as parse_rate
from limits.aio.storage import (
    MemoryStorage,
    RedisClusterStorage,
    RedisSentinelStorage,
    RedisStorage,
    Storage,
)
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.cache.address import parse_address
from app.cache.breaker import Breaker
from app.errors import InvalidField, RateLimited
from app.metrics import Metrics

logger = logging.getLogger(__name__)

PREFIX = "ph-rate"


class Rates:
    """Takes texts off a client's allowance.

    Args:
        rate: as `limits` writes them: `1000/minute`, `50000 per 1 hour`.
        storage: where counts are.
        metrics: where refusals, and failures to count, are counted.
    """

    def __init__(self, rate: str, storage: Storage, metrics: Metrics) -> None:
        self._rate: RateLimitItem = parse_rate(rate)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._metrics = metrics
        self._breaker = Breaker()

    async def take(self, client: str, texts: int, param: str) -> None:
        """Let a request of `texts` texts through, or not. `param` is the field that holds them.

        Raises:
            RateLimited: the client has asked for too much; all or nothing is counted.
            InvalidField: so many texts are never let through at once.
        """
        if texts > self._rate.amount:
            raise InvalidField(
                f"{param}: {texts} texts are over the limit of {self._rate}, however long you wait",
                param=param,
                code="over_rate_limit",
            )
        if not self._breaker.allows(time.monotonic()):
            self._metrics.rate_failures.inc()
            return
        try:
            if await self._limiter.hit(self._rate, client, cost=texts):
                self._breaker.succeeded()
                return
            left = (await self._limiter.get_window_stats(self._rate, client)).remaining
        except (RedisError, OSError, TimeoutError) as error:
            if self._breaker.is_closed:
                logger.warning("rate limits are not kept: %s", type(error).__name__)
            self._breaker.failed(time.monotonic())
            self._metrics.rate_failures.inc()
            return
        self._metrics.rate_refused.inc(texts)
        missing = max(1, texts - left)
        raise RateLimited(
            f"over the limit of {self._rate} in texts",
            retry_after=missing * self._rate.get_expiry() / self._rate.amount,
        )


def open_storage(url: str | None, timeout_s: float) -> Storage:
    """Where counts are kept: in the cache's Redis, or without one in this process.

    Args:
        url: as the cache's.
        timeout_s: for connecting, and for an answer.
    """
    if url is None:
        return MemoryStorage()
    address = parse_address(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 1),
    }
    # The redis-py client that the cache has too, whatever `limits` would take by itself.
    known: dict[str, Any] = {"implementation": "redispy", "key_prefix": PREFIX}
    if address.kind == "single":
        scheme, _, rest = url.partition("://")
        if scheme == "unix":
            url = f"redis+unix://{rest}"  # as `limits` writes it
        return RedisStorage(url, **known, **options)
    nodes = ",".join(f"{host}:{port}" for host, port in address.nodes)
    options |= address.options | ({"ssl": True} if address.tls else {})
    if address.kind == "cluster":
        return RedisClusterStorage(f"redis+cluster://{nodes}", **known, **options)
    # Sentinels have users of their own; else they would be given the server's.
    asking = {"username": None, "password": None} | (address.sentinel_options or {})
    return RedisSentinelStorage(
        f"redis+sentinel://{nodes}",
        service_name=address.service,
        sentinel_kwargs=asking,
        **known,
        **options,
    )
