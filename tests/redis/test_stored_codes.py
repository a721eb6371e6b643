"""Reading all stored codes, on a real server: what comes, what is left out, and trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.cache import code_cache as module
from app.cache.address import connect
from app.cache.code_cache import CacheGone, CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.cache.layouts import open_store
from app.cache.string_store import server_key
from app.metrics import Metrics
from tests.conftest import ValkeyProcess

WIDTH = 8
# Their first bytes are a pattern's own signs, `*?[\` and `^-]a`: none may act as one.
SIGNS = ("2a3f5b5c" + "0" * 24, "5e2d5d61" + "0" * 24)
OTHER = "00112233" + "0" * 24


@pytest.fixture
async def cache(valkey: ValkeyProcess) -> AsyncIterator[CodeCache]:
    store = open_store(connect(valkey.url, 2.0), "string", ttl_s=0, timeout_s=2.0)
    cache = CodeCache(store, FrontCache(0), Metrics())
    yield cache
    await cache.close()


async def fill(cache: CodeCache, fingerprint: str, count: int) -> dict[bytes, bytes]:
    texts = [f"text {number}" for number in range(count)]
    digests = digest_texts(fingerprint, texts)
    codes = {digest: digest[:WIDTH] for digest in digests}
    stored = {digest: StoredCode(code, 3, False) for digest, code in codes.items()}
    await cache.set_many(fingerprint, stored)
    return codes


async def read(cache: CodeCache, fingerprint: str) -> dict[bytes, bytes]:
    return {d: code async for page in cache.stored(fingerprint, WIDTH) for d, code in page.items()}


async def test_all_codes_of_an_encoder_come_and_no_others(
    cache: CodeCache, valkey: ValkeyProcess
) -> None:
    wanted = [await fill(cache, fingerprint, 3_000) for fingerprint in SIGNS]
    await fill(cache, OTHER, 500)
    for fingerprint, codes in zip(SIGNS, wanted, strict=True):
        head = server_key(fingerprint, b"")
        valkey.client.set(head + b"short", b"x")
        valkey.client.set(head + bytes(16), b"not a value")
        valkey.client.lpush(head + bytes(15) + b"1", b"a list")
        assert await read(cache, fingerprint) == codes
    assert await read(cache, "ffffffff" + "0" * 24) == {}
    assert [page async for page in cache.stored(SIGNS[0], WIDTH + 1)]  # pages, all empty
    assert not any([page async for page in cache.stored(SIGNS[0], WIDTH + 1)])


async def test_a_restart_of_the_server_is_survived(cache: CodeCache, valkey: ValkeyProcess) -> None:
    wanted = await fill(cache, OTHER, 5_000)
    found: dict[bytes, bytes] = {}
    pages = 0
    async for page in cache.stored(OTHER, WIDTH):
        found |= page
        pages += 1
        if pages == 2:
            valkey.kill()
            valkey.start()
    assert pages > 2
    assert found == wanted


async def test_a_server_that_stays_away_is_told(
    cache: CodeCache, valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SCAN_WAIT_S", 0.001)
    await fill(cache, OTHER, 3_000)
    pages: Any = cache.stored(OTHER, WIDTH)
    await anext(pages)
    valkey.kill()
    with pytest.raises(CacheGone):
        await anext(pages)


async def test_without_a_server_there_is_nothing_to_read() -> None:
    with pytest.raises(CacheGone):
        await read(CodeCache(None, FrontCache(0), Metrics()), OTHER)
