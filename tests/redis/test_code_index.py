"""The codes of a real server in memory: what is read, added, left out, and trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.cache.address import connect
from app.cache.code_cache import CacheGone, CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.cache.layouts import Layout, open_store
from app.errors import CacheUnavailable
from app.metrics import Metrics
from app.tasks import code_index as module
from app.tasks.code_index import CodeIndex, Table
from models.encoder import EncoderInfo
from tests.conftest import ValkeyProcess

WIDTH = 8
INFO = EncoderInfo("tiny", "aa" * 16, 8 * WIDTH, 16, "cpu", "fp32")
OTHER = replace(INFO, fingerprint="bb" * 16)


@pytest.fixture(params=["string", "packed"])
async def cache(valkey: ValkeyProcess, request: Any) -> AsyncIterator[CodeCache]:
    layout: Layout = request.param
    store = open_store(connect(valkey.url, 2.0), layout, ttl_s=0, timeout_s=2.0)
    cache = CodeCache(store, FrontCache(0), Metrics())
    yield cache
    await cache.close()


async def fill(cache: CodeCache, info: EncoderInfo, names: range) -> dict[bytes, bytes]:
    digests = digest_texts(info.fingerprint, [f"text {number}" for number in names])
    codes = {digest: digest[:WIDTH] for digest in digests}
    await cache.set_many(
        info.fingerprint, {key: StoredCode(code, 3, False) for key, code in codes.items()}
    )
    return codes


def held(table: Table) -> dict[bytes, bytes]:
    return {
        digest.tobytes(): code.tobytes()
        for chunk in table.chunks
        for digest, code in zip(chunk.digests, chunk.codes, strict=True)
    }


async def test_what_is_stored_is_read_and_read_anew(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 700)
    stored = await fill(cache, INFO, range(3_000))
    await fill(cache, OTHER, range(100))
    index = CodeIndex(cache, 1_000_000)
    table = await index.current(INFO, None)
    assert held(table) == stored
    assert table.complete
    assert len(table.chunks) > 1
    more = await fill(cache, INFO, range(3_000, 3_010))
    assert held(await index.current(INFO, None)) == stored  # nobody said so
    index.add(INFO.fingerprint, list(more.items())[:5])
    assert held(await index.current(INFO, None)) == stored | dict(list(more.items())[:5])
    assert held(await index.current(INFO, 0)) == stored | more
    assert len(await index.current(OTHER, None)) == 100  # and the former's are forgotten
    assert held(await index.current(INFO, None)) == stored | more
    await index.close()


async def test_too_many_codes_are_not_all_held(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 500)
    stored = await fill(cache, INFO, range(3_000))
    index = CodeIndex(cache, 1_000)
    table = await index.current(INFO, None)
    assert not table.complete
    assert 1_000 <= len(table) < 3_000
    assert held(table).items() <= stored.items()
    await index.close()


async def test_added_codes_are_bounded(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRESH", 3)
    index = CodeIndex(cache, 1_000)
    await index.current(INFO, None)
    for number in range(5):
        index.add(INFO.fingerprint, [(bytes([number]) * 16, bytes(WIDTH))])
    assert [key[0] for key in held(await index.current(INFO, None))] == [2, 3, 4]
    await index.close()


async def test_slow_reading_is_told_and_goes_on(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await fill(cache, INFO, range(2_000))
    index = CodeIndex(cache, 10_000)
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    with pytest.raises(CacheUnavailable) as raised:
        await index.current(INFO, None)
    assert (raised.value.code, raised.value.retry_after) == ("index_building", 5)
    monkeypatch.setattr(module, "WAIT_S", 20.0)
    assert held(await index.current(INFO, None)) == stored
    index.forget()
    assert held(await index.current(INFO, None)) == stored
    await index.close()


async def test_a_server_that_is_away_is_told(
    cache: CodeCache, valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cache.code_cache.SCAN_WAIT_S", 0.001)
    await fill(cache, INFO, range(10))
    index = CodeIndex(cache, 1_000)
    valkey.kill()
    with pytest.raises(CacheUnavailable, match="does not answer"):
        await index.current(INFO, None)
    valkey.start()
    assert len(await index.current(INFO, None)) == 10
    await index.close()


async def test_what_is_gone_is_found_out(cache: CodeCache, valkey: ValkeyProcess) -> None:
    stored = await fill(cache, INFO, range(3_000))
    digests = list(stored)
    assert cache._store is not None
    await cache._store.delete(INFO.fingerprint, digests[:10])
    found = await cache.kept(INFO.fingerprint, WIDTH, [*digests, bytes(16)])
    assert [None if one is None else one.code for one in found] == [
        *[None] * 10,
        *[stored[digest] for digest in digests[10:]],
        None,
    ]
    valkey.kill()
    with pytest.raises(CacheGone):
        await cache.kept(INFO.fingerprint, WIDTH, digests[:1])
