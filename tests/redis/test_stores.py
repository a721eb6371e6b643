"""Both layouts on a real server: what is put is found, nothing else is, and who may ask."""

from __future__ import annotations

import re

import pytest

from app.cache.address import connect
from app.cache.keys import fingerprint_tag
from app.cache.packed_upkeep import generations_key
from app.cache.server import ServerError
from tests.conftest import ROOT, ValkeyProcess
from tests.redis.codes import (
    FINGERPRINT,
    code_of,
    count_missing,
    fill,
    make_digests,
    scanned,
    values_of,
)
from tests.redis.conftest import LAYOUTS, TIMEOUT_S, MakeStore

pytestmark = pytest.mark.usefixtures("few_buckets")
TAG = fingerprint_tag(FINGERPRINT)
LIST = generations_key(TAG)


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_what_is_put_is_got_counted_scanned_and_deleted(
    layout: str, make_store: MakeStore
) -> None:
    store, other = make_store(layout), make_store(layout)
    digests = make_digests(1000)
    assert await count_missing(store, digests) == 1000
    await fill(store, digests)
    assert await count_missing(other, digests) == 0  # another process's view
    assert await scanned(other) == values_of(digests)
    assert await scanned(other, "f" * 32) == {}
    assert await store.delete(FINGERPRINT, digests[:10]) == 10
    assert await store.delete(FINGERPRINT, digests[:10]) == 0
    assert await count_missing(other, digests) == 10
    await fill(store, make_digests(5, "other"))
    assert await store.delete_all("f" * 32) == 0
    assert await other.delete_all(FINGERPRINT) > 0
    assert await count_missing(store, digests) == 1000
    await fill(store, digests)
    assert await count_missing(other, digests) == 0


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_foreign_values_are_replaced(
    layout: str, make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """Every key that a store made, turned into something else."""
    store = make_store(layout)
    digests = make_digests(50)
    await fill(store, digests)
    keys = list(valkey.client.scan_iter())
    for one in (store, make_store(layout)):
        for key in keys:
            valkey.client.delete(key)
            valkey.client.rpush(key, "a list")
        replies = await one.get(FINGERPRINT, digests)
        assert not any(isinstance(reply, bytes) for reply in replies)
        await fill(one, digests)
        assert await count_missing(one, digests) == 0
        assert await count_missing(make_store(layout), digests) == 0


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_what_cannot_be_read_is_not_taken_for_empty(
    layout: str, make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """Else an export would be complete without it, and a move would leave it behind."""
    store = make_store(layout)
    await fill(store, make_digests(300))
    rules = "on nopass -get -hgetall"
    valkey.client.execute_command("ACL SETUSER", "default", *rules.split())
    with pytest.raises(ServerError):
        await scanned(store)


async def test_strings_expire_when_they_should(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    store = make_store("string", ttl_s=100)
    await fill(store, make_digests(3))
    assert {valkey.client.ttl(key) for key in valkey.client.keys("ph1:*")} <= {99, 100}


def test_codes_of_the_tests_differ() -> None:
    digests = make_digests(100)
    assert len({code_of(digest) for digest in digests}) == 100


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_the_documented_acl_user_is_allowed_enough(
    layout: str, valkey: ValkeyProcess
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [rules] = re.findall(r"An ACL user needs `(.*?)`", page)
    valkey.client.execute_command("ACL SETUSER", "polyhead", "on", ">secret", *rules.split())
    url = valkey.url.replace("://", "://polyhead:secret@")
    store = LAYOUTS[layout](connect(url, TIMEOUT_S), ttl_s=60)
    digests = make_digests(300)
    await fill(store, digests)
    await store.settled()
    assert await count_missing(store, digests) == 0
    assert await scanned(store) == values_of(digests)
    await store.delete_all(FINGERPRINT)
    refused = valkey.client.execute_command("ACL LOG")
    assert refused == [], refused
    await store.close()
