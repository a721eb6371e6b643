"""The packed layout on a real server: nothing is lost or wrong, whoever works at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from app.cache import generations as state
from app.cache.generations import FULL
from app.cache.keys import fingerprint_tag
from app.cache.packed_layout import place_digests
from app.cache.packed_upkeep import LEASE_PREFIX, generations_key
from app.cache.server import ServerError
from tests.conftest import ValkeyProcess
from tests.redis.codes import (
    FINGERPRINT,
    count_missing,
    fill,
    make_digests,
    scanned,
    values_of,
)
from tests.redis.conftest import FIRST_BITS, MakeStore

pytestmark = pytest.mark.usefixtures("few_buckets")
TAG = fingerprint_tag(FINGERPRINT)
LIST = generations_key(TAG)


def generations(valkey: ValkeyProcess) -> state.Generations:
    return state.read(valkey.client.get(LIST))


async def test_a_bucket_in_the_place_of_a_foreign_key_expires_too(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    store = make_store("packed", ttl_s=100)
    await fill(store, make_digests(50))
    for key in valkey.client.keys("php:*"):
        valkey.client.delete(key)
        valkey.client.rpush(key, "a list")
    await fill(store, make_digests(50))
    assert await count_missing(store, make_digests(50)) == 0
    assert all(0 < valkey.client.ttl(key) <= 151 for key in valkey.client.keys("php:*"))


async def test_what_moves_while_all_is_read_is_met(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """Buckets are added, and the codes moved there, after reading has begun."""
    store, other = make_store("packed"), make_store("packed")
    digests = make_digests(FULL * 2**FIRST_BITS - 3000)
    await fill(store, digests)
    await store.settled()
    assert len(generations(valkey)) == 1
    found: dict[bytes, bytes] = {}
    async for page in other.scan(FINGERPRINT):
        if not found:
            await fill(store, make_digests(6000, "more"))
            await store.settled()
            await fill(store, make_digests(2000, "more"))
            await store.settled()
            assert generations(valkey)[-1].number > 1  # all are where they were not
        found |= page.values
    assert values_of(digests).items() <= found.items()


async def test_a_list_that_cannot_be_read_is_not_taken_for_lost(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """As when its node of a cluster is away: what can be written is, and nothing is begun anew."""
    store, digests = make_store("packed"), make_digests(300)
    await fill(store, digests)
    await store.settled()
    valkey.client.set(LIST, held := state.write((state.Generation(7, 6),)))
    await fill(store, digests[:1])  # learns it
    valkey.client.execute_command("ACL SETUSER", "default", "-get")
    [error] = await store.put(FINGERPRINT, values_of(digests))
    assert "permission" in str(error)
    late = make_store("packed")
    with pytest.raises(ServerError):
        await late.put(FINGERPRINT, values_of(digests))
    valkey.client.execute_command("ACL SETUSER", "default", "+get")
    assert valkey.client.get(LIST) == held
    assert await count_missing(late, digests) == 0


async def test_codes_that_cannot_be_read_are_not_deleted_by_a_move(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    digests = make_digests(FULL * 2**FIRST_BITS + 4000)
    store = make_store("packed")
    await fill(store, digests)
    admin = valkey.client
    admin.execute_command("ACL SETUSER", "admin", "on", "nopass", "~*", "+@all")
    admin.execute_command("AUTH", "admin", "")
    admin.execute_command("ACL SETUSER", "default", "-hgetall")
    await fill(store, digests[:2000])
    await store.settled()
    assert len(generations(valkey)) == 2
    assert await count_missing(store, digests) == 0
    assert await count_missing(make_store("packed"), digests) == 0


async def test_buckets_stay_listpacks_and_grow(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    store = make_store("packed")
    digests = make_digests(FULL * 2**FIRST_BITS * 5 // 4)
    await fill(store, digests)
    await store.settled()
    await fill(store, digests[:2000])  # the next look
    await store.settled()
    [newest] = generations(valkey)
    assert newest.bits > FIRST_BITS
    assert await count_missing(store, digests) == 0
    buckets = valkey.client.keys("php:*")
    assert len(buckets) <= newest.buckets  # none is left of the former
    assert {valkey.client.object("encoding", key) for key in buckets[:50]} == {b"listpack"}
    assert await scanned(store) == values_of(digests)


async def test_growth_under_load_loses_nothing_and_serves_nothing_wrong(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """Writers and readers of four processes, one with old views, while buckets are added."""
    digests = make_digests(30_000)
    writers = [make_store("packed") for _ in range(3)]
    reader, stale = make_store("packed"), make_store("packed")
    await fill(stale, make_digests(1, "stale"))
    written: list[bytes] = []
    done = False
    lost = looked = 0

    async def write(store: Any, part: list[bytes]) -> None:
        for start in range(0, len(part), 64):
            await fill(store, part[start : start + 64])
            written.extend(part[start : start + 64])

    async def read() -> None:
        nonlocal lost, looked
        while not done:
            some = written[-64:] + written[looked % (len(written) + 1) :][:64]
            lost += await count_missing(reader, some)
            looked += 64
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(one, digests[n::3]) for n, one in enumerate(writers)))
    for one in writers:
        await one.settled()
    done = True
    await reading
    assert len(generations(valkey)) <= 2
    assert generations(valkey)[0].number >= 2
    late = make_digests(200, "late")
    await fill(stale, late)  # it still believes in the first generation
    assert await count_missing(writers[0], late) == 0
    assert lost == 0
    assert looked > 0
    assert await count_missing(reader, digests) == 0
    await writers[0].put(FINGERPRINT, values_of(make_digests(1100, "more")))
    await writers[0].settled()
    [newest] = generations(valkey)
    used = {key for key, _ in place_digests(TAG, newest, [*digests, *late])}
    orphans = set(valkey.client.keys("php:*")) - used
    head = place_digests(TAG, newest, [digests[0]])[0][0][:11]
    assert all(key.startswith(head) for key in orphans)  # nothing of generations that are gone


async def test_a_merge_that_was_cut_off_is_done_by_another(
    make_store: MakeStore, valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = make_digests(FULL * 2**FIRST_BITS + 4000)
    killed = make_store("packed")
    await fill(killed, digests)
    moved = 0
    move = killed._upkeep._move

    async def cut_off(*arguments: Any) -> int:
        nonlocal moved
        if moved > 2000:
            raise asyncio.CancelledError
        moved += await move(*arguments)
        return moved

    monkeypatch.setattr(killed._upkeep, "_move", cut_off)
    await fill(killed, digests[:2000])
    await killed.settled()
    assert len(generations(valkey)) == 2
    assert await count_missing(killed, digests) == 0
    valkey.client.set(LEASE_PREFIX + TAG, "of one that was killed", px=300)
    other = make_store("packed")
    await fill(other, digests[:1])
    await other.settled()
    assert len(generations(valkey)) == 2
    await asyncio.sleep(0.4)
    await fill(other, digests[:2000])
    await other.settled()
    assert len(generations(valkey)) == 1
    assert await count_missing(killed, digests) == 0
    assert await scanned(other) == values_of(digests)


async def test_a_lost_list_of_generations_is_put_back(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """By those who know it. Those who do not find nothing until then, and nothing wrong."""
    store, late = make_store("packed"), make_store("packed")
    digests = make_digests(100)
    await fill(store, digests)
    for lost in (None, b"", b"garbage", b"9 9 9 9 9"):
        valkey.client.delete(LIST)
        if lost is not None:
            valkey.client.set(LIST, lost)
        assert await count_missing(store, digests) == 0
        await fill(store, make_digests(1, "one more"))
        assert await count_missing(late, digests) == 0
        late = make_store("packed")


async def test_packed_codes_live_for_their_time_and_a_slice_at_most(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    store, other = make_store("packed", ttl_s=4), make_store("packed", ttl_s=4)
    written: dict[bytes, tuple[float, float]] = {}  # before and after the write
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < 9:
        [digest] = make_digests(1, f"number {number} ")
        number += 1
        before = time.monotonic()
        await fill(store, [digest])
        written[digest] = (before, time.monotonic())
        for one, (before, after) in written.items():
            asked = time.monotonic()
            [value] = await other.get(FINGERPRINT, [one])
            if time.monotonic() - before < 3.9:
                assert value == values_of([one])[one]
            if asked - after > 7.5:  # a slice of two seconds, a second of rounding
                assert value is None
        await asyncio.sleep(0.2)
    assert len(generations(valkey)) <= state.SLICES + 2
    # -2 for those that expired since they were named; -1 would be never.
    assert all(valkey.client.pttl(key) != -1 for key in valkey.client.keys("php:*"))


async def test_setting_a_time_to_live_reaches_what_is_there(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    digests = make_digests(300)
    before = make_store("packed")
    await fill(before, digests)
    await before.settled()
    after = make_store("packed", ttl_s=1000)
    await fill(after, digests[:1])
    await after.settled()
    assert await count_missing(after, digests) == 0
    assert await count_missing(before, digests) == 0
    ttls = [valkey.client.ttl(key) for key in valkey.client.keys("php:*")]
    assert ttls
    assert all(1000 <= ttl <= 1501 for ttl in ttls)


async def test_a_server_that_would_not_keep_listpacks_is_warned_of(
    make_store: MakeStore, valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.client.config_set("hash-max-listpack-value", 32)
    store = make_store("packed")
    await fill(store, make_digests(1))
    await store.settled()
    assert "hash-max-listpack-value is 32: set it to 54" in caplog.text
