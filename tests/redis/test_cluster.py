"""A real cluster of three masters and three replicas; a real Sentinel."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cache.address import connect
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.layouts import open_store
from app.cache.server import ServerError
from app.errors import RateLimited
from app.metrics import Metrics
from app.rates import Rates, open_storage
from benchmarks.nodes import CLUSTER, Node, form_cluster, in_step
from tests.conftest import ROOT, wait_for
from tests.redis.codes import FINGERPRINT, WIDTH, code_of, count_missing, fill, make_digests

TIMEOUT_S = 2.0
FAILOVER_S = 25.0


Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    nodes: list[Node] = []

    def make(*arguments: str) -> Node:
        nodes.append(Node(tmp_path / f"node{len(nodes)}", *arguments))
        return nodes[-1]

    yield make
    for node in nodes:
        node.kill()


@pytest.fixture
def cluster(start: Start) -> list[Node]:
    """Masters first, then a replica of each in the same order."""
    nodes = [start(*CLUSTER, "--cluster-node-timeout", "1500") for _ in range(6)]
    form_cluster(nodes)
    return nodes


async def under_load(url: str, layout: Any, kill: Callable[[], None]) -> dict[str, float]:
    """Ask for codes all the while; what the cache answered before, during and after a kill."""
    store = open_store(connect(url, TIMEOUT_S), layout, ttl_s=0, timeout_s=TIMEOUT_S)
    cache = CodeCache(store, FrontCache(0), Metrics())
    digests = make_digests(3000)
    codes = {digest: code_of(digest) for digest in digests}
    slowest, misses, asked, wrong, whole_at = 0.0, 0, 0, 0, 0.0
    try:
        await fill(store, digests)
        await asyncio.sleep(1.0)  # replicas have them
        assert await count_missing(store, digests) == 0
        kill()
        killed = time.monotonic()
        place = 0
        while time.monotonic() - killed < FAILOVER_S:
            some = digests[place : place + 300]
            place = (place + 300) % 3000
            before = time.monotonic()
            found = await cache.get_many(FINGERPRINT, WIDTH, some)
            slowest = max(slowest, time.monotonic() - before)
            asked += len(some)
            lost = [d for d, stored in zip(some, found, strict=True) if stored is None]
            wrong += sum(
                stored is not None and stored != codes[digest]
                for digest, stored in zip(some, found, strict=True)
            )
            misses += len(lost)
            await cache.set_many(FINGERPRINT, {digest: codes[digest] for digest in lost})
            if lost:
                whole_at = 0.0
            whole_at = whole_at or time.monotonic()
            if not lost and time.monotonic() - whole_at > 2.0:
                break
            await asyncio.sleep(0.02)
        with contextlib.suppress(*ServerError):
            await store.settled()
        assert await count_missing(store, digests) == 0
    finally:
        await cache.close()
    return {
        "asked": asked,
        "misses": misses,
        "wrong": wrong,
        "slowest_ms": round(slowest * 1e3),
        "whole_again_s": round(whole_at - killed, 1),
    }


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_a_master_killed_under_load(layout: str, cluster: list[Node]) -> None:
    url = f"redis+cluster://127.0.0.1:{cluster[0].port},127.0.0.1:{cluster[1].port}"
    seen = await under_load(url, layout, cluster[1].kill)
    print(f"{layout}: {seen}")
    assert seen["wrong"] == 0
    # A third of the slots had no master for a while; the others went on.
    assert 0 < seen["misses"] < seen["asked"]


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_the_documented_acl_user_is_allowed_enough_in_a_cluster(
    layout: Any, cluster: list[Node]
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [rules] = re.findall(r"An ACL user needs `(.*?)`", page)
    [more] = re.findall(r"in a cluster also `(.*?)`", page)
    for node in cluster:
        node.client.execute_command(
            "ACL SETUSER", "polyhead", "on", ">secret", *rules.split(), *more.split()
        )
    url = f"redis+cluster://polyhead:secret@127.0.0.1:{cluster[0].port}"
    store = open_store(connect(url, TIMEOUT_S), layout, ttl_s=60, timeout_s=TIMEOUT_S)
    digests = make_digests(500)
    await fill(store, digests)
    await store.settled()
    assert await count_missing(store, digests) == 0
    found = {digest async for page in store.scan(FINGERPRINT) for digest in page.values}
    assert found == set(digests)
    await store.close()
    for node in cluster:
        assert node.client.execute_command("ACL LOG") == []


async def keeps_a_rate(url: str) -> None:
    """Two processes' worth of counting: what one took, the other has not."""
    metrics = Metrics()
    one, two = (Rates("10/hour", open_storage(url, TIMEOUT_S), metrics) for _ in range(2))
    for number in range(20):  # clients in many slots
        await one.take(f"client {number}", 6, "inputs")
        with pytest.raises(RateLimited):
            await two.take(f"client {number}", 5, "inputs")
        await two.take(f"client {number}", 4, "inputs")
    assert metrics.rate_failures.value == 0


async def test_rate_limits_are_kept_in_a_cluster_by_the_documented_user(
    cluster: list[Node],
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [rules] = re.findall(r"An ACL user needs `(.*?)`", page)
    [more] = re.findall(r"in a cluster also `(.*?)`", page)
    for node in cluster:
        node.client.execute_command(
            "ACL SETUSER", "polyhead", "on", ">secret", *rules.split(), *more.split()
        )
    await keeps_a_rate(f"redis+cluster://polyhead:secret@127.0.0.1:{cluster[0].port}")
    for node in cluster:
        assert node.client.execute_command("ACL LOG") == []


async def test_rate_limits_are_kept_behind_sentinel(start: Start, tmp_path: Path) -> None:
    master = start("--save", "", "--requirepass", "secret")
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel auth-pass main secret\n"
    )
    sentinel = start(str(configuration), "--sentinel")
    await keeps_a_rate(f"redis+sentinel://:secret@127.0.0.1:{sentinel.port}/main")


async def test_sentinel_names_the_new_master(start: Start, tmp_path: Path) -> None:
    master = start("--save", "", "--hash-max-listpack-value", "256")
    replica = start("--save", "", "--replicaof", f"127.0.0.1 {master.port}")
    wait_for(lambda: in_step(replica), 20, "the replica")
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 700\n"
        "sentinel failover-timeout main 5000\n"
    )
    sentinel = start(str(configuration), "--sentinel")
    wait_for(
        lambda: sentinel.client.sentinel_master("main")["num-slaves"] == 1, 20, "Sentinel's look"
    )
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    seen = await under_load(url, "string", master.kill)
    print(f"sentinel: {seen}")
    assert seen["wrong"] == 0
    assert seen["misses"] > 0
    assert replica.client.info("replication")["role"] == "master"
