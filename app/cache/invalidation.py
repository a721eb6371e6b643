"""Forgetting codes: by key, of an encoder, or all; in both layouts, and in front caches.

Front caches are in the processes. They are told by a mark on the server, which each process reads
once a second; when it has changed, the front cache is emptied. A mark is random: a server that
lost it cannot come to hold it again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from app.cache.commands import keyed
from app.cache.packed_layout import BUCKET_PREFIX
from app.cache.packed_upkeep import GENERATIONS_PREFIX, LEASE_PREFIX
from app.cache.scan import scan_keys, unlink
from app.cache.server import Reply, Server, ServerError, raise_first
from app.cache.store import CodeStore
from app.cache.string_store import KEY_PREFIX

MARK = b"phi:"
WATCH_S = 1.0


async def forget(
    server: Server, stores: Sequence[CodeStore], fingerprint: str, digests: Sequence[bytes]
) -> int:
    """Forget digests of an encoder; how many codes there were."""
    forgotten = sum([await store.delete(fingerprint, digests) for store in stores])
    await announce(server)
    return forgotten


async def forget_encoder(server: Server, stores: Sequence[CodeStore], fingerprint: str) -> int:
    """Forget all codes of an encoder; how many keys of the server there were."""
    forgotten = sum([await store.delete_all(fingerprint) for store in stores])
    await announce(server)
    return forgotten


async def forget_all(server: Server) -> int:
    """Forget all codes of all encoders; how many keys of the server there were."""
    prefixes = (GENERATIONS_PREFIX, KEY_PREFIX, BUCKET_PREFIX, LEASE_PREFIX)
    forgotten = sum([await unlink(server, prefix) for prefix in prefixes])
    await announce(server)
    return forgotten


async def tags_of(server: Server) -> tuple[set[bytes], set[bytes]]:
    """The fingerprints' tags of which there are codes: in strings, and packed."""
    found: list[set[bytes]] = []
    for prefix in (KEY_PREFIX, GENERATIONS_PREFIX):
        tags: set[bytes] = set()
        async for keys, _ in scan_keys(server, prefix):
            tags.update(key[len(prefix) : len(prefix) + 4] for key in keys)
        found.append(tags)
    return found[0], found[1]


async def announce(server: Server) -> None:
    """Have all processes empty their front caches."""
    raise_first(await server.send([keyed(b"SET", MARK, secrets.token_bytes(8))]))


async def watch(server: Server, empty: Callable[[], None], every_s: float = WATCH_S) -> None:
    """Empty the front cache whenever something was forgotten. Runs until it is cancelled."""
    seen: Reply = None
    known = False
    while True:
        try:
            [mark] = await server.send([keyed(b"GET", MARK)])
        except ServerError:
            pass  # requests notice too, and say so
        else:
            if not isinstance(mark, Exception):
                if known and mark != seen:
                    empty()
                known, seen = True, mark
        await asyncio.sleep(every_s)
