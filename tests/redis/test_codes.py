"""Migration and invalidation of stored codes, and the command, on a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cache import invalidation
from app.cache.address import connect
from app.cache.migration import migrate
from tests.conftest import ROOT, ValkeyProcess
from tests.redis.codes import (
    FINGERPRINT,
    count_missing,
    fill,
    make_digests,
    scanned,
    values_of,
)
from tests.redis.conftest import MakeStore

LAYOUTS = ["string", "packed"]


@pytest.mark.parametrize(("source", "target"), [LAYOUTS, LAYOUTS[::-1]])
async def test_migration_loses_nothing(
    source: str, target: str, make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    """Both ways, with a process that writes to the new layout meanwhile, after a cut."""
    old, new, working = make_store(source), make_store(target), make_store(target)
    digests, fresh = make_digests(3000), make_digests(1000, "fresh ")
    await fill(old, digests)
    async for moved in migrate(old, new, FINGERPRINT):
        if moved > 500:
            break

    async def move() -> int:
        return [moved async for moved in migrate(old, make_store(target), FINGERPRINT[:8])][-1]

    again, _ = await asyncio.gather(move(), fill(working, fresh, 50))
    assert 0 < again < 2500
    assert await count_missing(working, digests) == 0
    assert await count_missing(new, fresh) == 0
    assert await count_missing(old, digests) == 3000
    left = valkey.client.keys("ph1:*" if source == "string" else "php:*")
    assert left == []


@pytest.mark.parametrize("target", LAYOUTS)
async def test_a_migration_that_is_killed_is_done_by_the_next(
    target: str, valkey: ValkeyProcess, make_store: MakeStore
) -> None:
    source = LAYOUTS[1 - LAYOUTS.index(target)]
    old, new, digests = make_store(source), make_store(target), make_digests(40_000)
    await fill(old, digests, 1000)
    await old.settled()
    arguments = [sys.executable, "-m", "app.codes", "migrate", "--to", target]
    environment = {**os.environ, "REDIS_URL": valkey.url}
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and await count_missing(new, digests[:1000]) == 1000:
        await asyncio.sleep(0.01)
    process.kill()
    process.wait()
    left = len(await scanned(old))
    assert left > 0
    # Each is in one of the two, or in both.
    held = (await scanned(old)) | (await scanned(new))
    assert held == values_of(digests)
    status, output = command(valkey, "migrate", "--to", target)
    assert (status, await count_missing(make_store(target), digests)) == (0, 0), output
    assert await scanned(old) == {}


async def test_a_migration_into_a_full_server_deletes_nothing(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    old, new = make_store("string"), make_store("packed")
    digests = make_digests(500)
    await fill(old, digests)
    await fill(new, make_digests(1, "there"))
    valkey.client.config_set("maxmemory", 1)
    with pytest.raises(Exception, match=r"OOM|maxmemory"):
        async for _ in migrate(old, new, FINGERPRINT):
            pass
    valkey.client.config_set("maxmemory", 0)
    assert await count_missing(old, digests) == 0


async def test_forgetting_empties_front_caches(
    make_store: MakeStore, valkey: ValkeyProcess
) -> None:
    server = connect(valkey.url, 10)
    stores = [make_store("string"), make_store("packed")]
    digests = make_digests(20)
    for store in stores:
        await fill(store, digests)
    emptied = 0

    def empty() -> None:
        nonlocal emptied
        emptied += 1

    watching = asyncio.create_task(invalidation.watch(server, empty, 0.02))

    async def told(times: int) -> None:
        async with asyncio.timeout(10):
            while emptied < times:
                await asyncio.sleep(0.01)

    await asyncio.sleep(0.5)
    assert emptied == 0
    assert await invalidation.forget(server, stores, FINGERPRINT, digests[:2]) == 4
    await told(1)
    assert [await count_missing(store, digests) for store in stores] == [2, 2]
    assert await invalidation.tags_of(server) == ({b"\x01\x23\x45\x67"}, {b"\x01\x23\x45\x67"})
    await invalidation.forget_encoder(server, stores, FINGERPRINT)
    await told(2)
    assert [await count_missing(store, digests) for store in stores] == [20, 20]
    for store in stores:
        await fill(store, digests)
    await invalidation.forget_all(server)
    await told(3)
    assert [await count_missing(store, digests) for store in stores] == [20, 20]
    valkey.kill()  # nothing to hear, nothing to do
    await asyncio.sleep(0.1)
    assert not watching.done()
    watching.cancel()
    await server.close()


def command(valkey: ValkeyProcess, *arguments: str, **environment: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "app.codes", *arguments],
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": valkey.url, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout + run.stderr


async def test_the_command(valkey: ValkeyProcess, make_store: MakeStore, tmp_path: Path) -> None:
    store, digests, folder = make_store("string"), make_digests(300), str(tmp_path / "archive")
    await fill(store, digests)
    encoder = ("--fingerprint", FINGERPRINT)
    assert command(valkey, "list") == (0, "01234567...  string\n")
    assert command(valkey, "export", folder, *encoder) == (0, "300 codes in 1 files\n")
    assert command(valkey, "export", folder, *encoder)[0] == 1
    key = digests[0].hex()
    assert command(valkey, "invalidate", *encoder, "--key", key) == (0, "1 codes forgotten\n")
    assert await count_missing(store, digests) == 1
    assert command(valkey, "invalidate", "--all")[0] == 0
    assert await count_missing(store, digests) == 300
    assert command(valkey, "import", folder) == (0, "1 of 1 files\n")
    assert await count_missing(store, digests) == 0
    code, output = command(valkey, "migrate", "--to", "packed")
    assert (code, output) == (0, "01234567...: 300 codes moved to packed\n")
    assert await count_missing(make_store("packed"), digests) == 0
    assert await count_missing(store, digests) == 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "there"),
        ("export", "there", "--fingerprint", "01234567"),
        ("export", "there", "--fingerprint", "xyz"),
        ("import", "nowhere"),
        ("invalidate",),
        ("invalidate", "--all", "--key", "0" * 32),
        ("invalidate", "--fingerprint", FINGERPRINT, "--key", "zz"),
        ("migrate", "--to", "elsewhere"),
    ],
)
def test_what_the_command_refuses(arguments: tuple[str, ...], valkey: ValkeyProcess) -> None:
    code, output = command(valkey, *arguments)
    assert code != 0
    assert output


def test_without_a_server_the_command_says_so(valkey: ValkeyProcess, tmp_path: Path) -> None:
    valkey.kill()
    assert command(valkey, "list")[1].startswith("the server does not answer")
    code, output = command(valkey, "list", REDIS_URL="", POLYHEAD_DATA_DIR=str(tmp_path))
    assert code == 1
    assert "no REDIS_URL" in output


async def test_packed_values_are_the_values(make_store: MakeStore) -> None:
    """A value does not depend on the layout: a move copies its bytes."""
    digests = make_digests(10)
    for layout in LAYOUTS:
        store = make_store(layout)
        await fill(store, digests)
        assert await store.get(FINGERPRINT, digests) == list(values_of(digests).values())
