"""app.cache.code_cache: how requests share a round trip. Real servers are tests/redis' matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from app.cache import code_cache as module
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts, encode_value, server_key
from app.metrics import Metrics

FINGERPRINT = "0123456789abcdef" * 2
WIDTH = 8


class FakeRedis:
    """A server with a dict, which counts what it is asked and can be slow or broken."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.asked: list[list[bytes]] = []
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def mget(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked.append(list(keys))
        await self.gate.wait()
        if self.broken:
            raise RedisConnectionError("gone")
        return [self.values.get(key) for key in keys]


def code_of(text: str) -> StoredCode:
    return StoredCode(text.encode().ljust(WIDTH, b".")[:WIDTH], len(text), False)


@pytest.fixture
def make() -> Callable[..., tuple[CodeCache, FakeRedis]]:
    def build(*texts: str) -> tuple[CodeCache, FakeRedis]:
        redis: Any = FakeRedis()
        for text, digest in zip(texts, digest_texts(FINGERPRINT, texts), strict=True):
            key = server_key(FINGERPRINT, digest)
            redis.values[key] = encode_value(key, code_of(text))
        return CodeCache(redis, FrontCache(0), Metrics()), redis

    return build


async def get(cache: CodeCache, *texts: str) -> list[StoredCode | None]:
    return await cache.get_many(FINGERPRINT, WIDTH, digest_texts(FINGERPRINT, texts))


Make = Callable[..., tuple[CodeCache, FakeRedis]]


async def test_concurrent_requests_share_a_round_trip_and_get_their_own(make: Make) -> None:
    cache, redis = make("a", "b", "c")
    found = await asyncio.gather(get(cache, "a", "x"), get(cache, "b"), get(cache, "y", "c", "a"))
    assert found == [
        [code_of("a"), None],
        [code_of("b")],
        [None, code_of("c"), code_of("a")],
    ]
    assert len(redis.asked) == 1


async def test_later_requests_do_not_wait_for_a_slow_round_trip(make: Make) -> None:
    cache, redis = make("a", "b")
    redis.gate.clear()
    first = asyncio.create_task(get(cache, "a"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(get(cache, "b"))
    await asyncio.sleep(0.01)
    assert len(redis.asked) == 2
    redis.gate.set()
    assert await first == [code_of("a")]
    assert await second == [code_of("b")]


async def test_a_request_that_leaves_does_not_take_the_others_along(make: Make) -> None:
    cache, redis = make("a", "b")
    redis.gate.clear()
    leaving, staying = asyncio.create_task(get(cache, "a")), asyncio.create_task(get(cache, "b"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.sleep(0.01)
    redis.gate.set()
    assert await staying == [code_of("b")]


async def test_a_broken_round_trip_is_a_miss_for_all_of_it(make: Make) -> None:
    cache, redis = make("a", "b")
    redis.broken = True
    assert await asyncio.gather(get(cache, "a"), get(cache, "b")) == [[None], [None]]
    assert not cache.is_up


async def test_a_round_trip_has_a_size(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARED_KEYS", 4)
    texts = [f"t{n}" for n in range(9)]
    cache, redis = make(*texts)
    found = await asyncio.gather(*(get(cache, a, b) for a, b in pairwise(texts)))
    assert found == [[code_of(a), code_of(b)] for a, b in pairwise(texts)]
    assert [len(keys) for keys in redis.asked] == [4, 4, 4, 4]
    alone = await get(cache, *texts)  # one request is never split
    assert alone == [code_of(text) for text in texts]
    assert len(redis.asked[-1]) == 9
