"""app.cache.code_cache: how requests share a round trip. Real servers are tests/redis' matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.cache import code_cache as module
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts, encode_value
from app.metrics import Metrics

FINGERPRINT = "0123456789abcdef" * 2
WIDTH = 8


class FakeStore:
    """A store with a dict, which counts what it is asked and can be slow or broken."""

    def __init__(self) -> None:
        self.values: dict[bytes, Any] = {}
        self.asked: list[list[bytes]] = []
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.put_errors: list[Exception] = []
        self.put_raises: Exception | None = None
        self.put_gate = asyncio.Event()
        self.put_gate.set()

    async def get(self, fingerprint: str, digests: Sequence[bytes]) -> list[Any]:
        self.asked.append(list(digests))
        await self.gate.wait()
        if self.broken:
            raise RedisConnectionError("gone")
        return [self.values.get(digest) for digest in digests]

    async def put(self, fingerprint: str, values: Mapping[bytes, bytes]) -> list[Exception]:
        await self.put_gate.wait()
        if self.broken:
            raise RedisConnectionError("gone")
        if self.put_raises is not None:
            raise self.put_raises
        if not self.put_errors:
            self.values |= values
        return self.put_errors


def code_of(text: str) -> StoredCode:
    return StoredCode(text.encode().ljust(WIDTH, b".")[:WIDTH], len(text), False)


@pytest.fixture
def make() -> Callable[..., tuple[CodeCache, FakeStore]]:
    def build(*texts: str) -> tuple[CodeCache, FakeStore]:
        store: Any = FakeStore()
        for text, digest in zip(texts, digest_texts(FINGERPRINT, texts), strict=True):
            store.values[digest] = encode_value(FINGERPRINT, digest, code_of(text))
        return CodeCache(store, FrontCache(0), Metrics()), store

    return build


async def get(cache: CodeCache, *texts: str) -> list[StoredCode | None]:
    return await cache.get_many(FINGERPRINT, WIDTH, digest_texts(FINGERPRINT, texts))


Make = Callable[..., tuple[CodeCache, FakeStore]]


async def test_concurrent_requests_share_a_round_trip_and_get_their_own(make: Make) -> None:
    cache, store = make("a", "b", "c")
    found = await asyncio.gather(get(cache, "a", "x"), get(cache, "b"), get(cache, "y", "c", "a"))
    assert found == [
        [code_of("a"), None],
        [code_of("b")],
        [None, code_of("c"), code_of("a")],
    ]
    assert len(store.asked) == 1


async def test_later_requests_do_not_wait_for_a_slow_round_trip(make: Make) -> None:
    cache, store = make("a", "b")
    store.gate.clear()
    first = asyncio.create_task(get(cache, "a"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(get(cache, "b"))
    await asyncio.sleep(0.01)
    assert len(store.asked) == 2
    store.gate.set()
    assert await first == [code_of("a")]
    assert await second == [code_of("b")]


async def test_a_request_that_leaves_does_not_take_the_others_along(make: Make) -> None:
    cache, store = make("a", "b")
    store.gate.clear()
    leaving, staying = asyncio.create_task(get(cache, "a")), asyncio.create_task(get(cache, "b"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.sleep(0.01)
    store.gate.set()
    assert await staying == [code_of("b")]


async def test_a_broken_round_trip_is_a_miss_for_all_of_it(make: Make) -> None:
    cache, store = make("a", "b")
    store.broken = True
    assert await asyncio.gather(get(cache, "a"), get(cache, "b")) == [[None], [None]]
    assert not cache.is_up


async def test_a_round_trip_has_a_size(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARED_DIGESTS", 4)
    texts = [f"t{n}" for n in range(9)]
    cache, store = make(*texts)
    found = await asyncio.gather(*(get(cache, a, b) for a, b in pairwise(texts)))
    assert found == [[code_of(a), code_of(b)] for a, b in pairwise(texts)]
    assert [len(keys) for keys in store.asked] == [4, 4, 4, 4]
    alone = await get(cache, *texts)  # one request is never split
    assert alone == [code_of(text) for text in texts]
    assert len(store.asked[-1]) == 9


async def test_requests_of_two_encoders_do_not_share(make: Make) -> None:
    cache, store = make("a")
    other = FINGERPRINT[::-1]
    found = await asyncio.gather(
        get(cache, "a"), cache.get_many(other, WIDTH, digest_texts(other, ["a"]))
    )
    assert found == [[code_of("a")], [None]]
    assert len(store.asked) == 2


async def test_a_part_of_a_cluster_that_is_down_is_a_miss_and_the_rest_goes_on(make: Make) -> None:
    cache, store = make("a", "b")
    [digest] = digest_texts(FINGERPRINT, ["b"])
    store.values[digest] = RedisConnectionError("this node is gone")
    assert await get(cache, "a", "b") == [code_of("a"), None]
    assert await get(cache, "b") == [None]  # nothing but errors, of that node
    assert await get(cache, "a", "b") == [code_of("a"), None]
    assert cache.is_up


async def test_no_request_waits_for_a_server_that_failed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cache.breaker.FIRST_PAUSE_S", 1e-9)
    cache, store = make("a")
    store.broken = True
    assert await get(cache, "a") == [None]
    store.broken = False
    store.gate.clear()  # silent from now on
    async with asyncio.timeout(5):
        for _ in range(3):
            assert await get(cache, "a") == [None]
        [digest] = digest_texts(FINGERPRINT, ["new"])
        store.put_gate.clear()
        await cache.set_many(FINGERPRINT, {digest: code_of("new")})
    assert len(store.asked) > 1  # but one was sent to see whether it answers
    assert not cache.is_up
    store.gate.set()
    store.put_gate.set()
    async with asyncio.timeout(5):
        while not cache.is_up:
            await asyncio.sleep(0.001)
    assert await get(cache, "a") == [code_of("a")]
    assert digest in store.values


async def test_round_trips_at_once_are_limited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROUND_TRIPS", 2)
    cache, store = make("a", "b", "c")
    store.gate.clear()
    tasks = []
    for text in ("a", "b", "c"):
        tasks.append(asyncio.create_task(get(cache, text)))
        await asyncio.sleep(0.01)
    assert len(store.asked) == 2
    store.gate.set()
    assert await asyncio.gather(*tasks) == [[code_of(text)] for text in "abc"]


async def test_what_waits_for_its_turn_does_not_ask_a_server_that_failed_meanwhile(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ROUND_TRIPS", 1)
    cache, store = make("a", "b")
    store.gate.clear()
    first = asyncio.create_task(get(cache, "a"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(get(cache, "b"))
    await asyncio.sleep(0.01)
    store.broken = True
    store.gate.set()
    assert await asyncio.gather(first, second) == [[None], [None]]
    assert len(store.asked) == 1


async def test_a_code_of_another_encoder_is_not_found_by_its_key(make: Make) -> None:
    _, store = make("a")
    cache = CodeCache(store, FrontCache(1 << 20), Metrics())
    digests = digest_texts(FINGERPRINT, ["a"])
    assert await cache.get_many(FINGERPRINT, WIDTH, digests) == [code_of("a")]
    asked = len(store.asked)
    assert await cache.get_many(FINGERPRINT, WIDTH, digests) == [code_of("a")]
    assert len(store.asked) == asked  # from the front cache
    assert await cache.get_many(FINGERPRINT[::-1], WIDTH, digests) == [None]


async def test_what_was_asked_before_the_front_cache_was_emptied_is_not_kept(make: Make) -> None:
    _, store = make("a")
    front = FrontCache(1 << 20)
    cache = CodeCache(store, front, Metrics())
    await get(cache, "b")
    store.gate.clear()
    asking = asyncio.create_task(get(cache, "a"))
    await asyncio.sleep(0.01)
    front.clear()
    store.gate.set()
    assert await asking == [code_of("a")]
    assert len(front) == 0


async def test_a_refused_write_says_nothing_of_reads(make: Make) -> None:
    cache, store = make("a")
    store.put_raises = ResponseError("OOM command not allowed")
    [digest] = digest_texts(FINGERPRINT, ["new"])
    await cache.set_many(FINGERPRINT, {digest: code_of("new")})
    assert cache.is_up
    assert await get(cache, "a") == [code_of("a")]


async def test_a_foreign_type_is_a_bad_value(make: Make) -> None:
    cache, store = make("a", "b")
    [digest] = digest_texts(FINGERPRINT, ["b"])
    store.values[digest] = ResponseError("WRONGTYPE Operation against a key")
    assert await get(cache, "a", "b") == [code_of("a"), None]
    assert cache.is_up


async def test_a_server_that_takes_no_codes_still_gives_them(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    cache, store = make("a")
    store.put_errors = [ResponseError("OOM command not allowed, value b'secret'")]
    for _ in range(3):
        [digest] = digest_texts(FINGERPRINT, ["new"])
        await cache.set_many(FINGERPRINT, {digest: code_of("new")})
    assert await get(cache, "a") == [code_of("a")]
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
