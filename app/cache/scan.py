"""Going through the keys of a server, or of all of a cluster's, from where it was left off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import blake2b

from app.cache.commands import keyed, pack
from app.cache.server import Server, raise_first

SCAN_COUNT = b"1000"
_SPECIAL = b"*?[]^-\\"


async def scan_keys(
    server: Server, prefix: bytes, position: str = ""
) -> AsyncIterator[tuple[list[bytes], str]]:
    """Keys with a prefix, at least once each, with the position after them.

    A position holds for the very servers that it was made with. After a restart or a failover,
    when cursors mean something else, it starts from the beginning.
    """
    pattern = b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in prefix)
    topology = await _topology(server, await server.shards())
    while True:
        shards = await server.shards()
        known, _, rest = position.partition(":")
        number, _, cursor = rest.partition(":") if known == topology else ("0", "", "0")
        for place in range(int(number), len(shards)):
            while True:
                command = pack(
                    b"SCAN", cursor.encode(), b"MATCH", pattern + b"*", b"COUNT", SCAN_COUNT
                )
                [reply] = await server.send_to(shards[place], [command])
                raise_first([reply])
                cursor = reply[0].decode()
                after = f"{place}:{cursor}" if cursor != "0" else f"{place + 1}:0"
                yield reply[1], f"{topology}:{after}"
                if cursor == "0":
                    break
        # A server that was started again meanwhile: its cursors led past keys.
        now = await _topology(server, await server.shards())
        if now == topology:
            return
        topology, position = now, ""


async def unlink(server: Server, prefix: bytes) -> int:
    """Delete all keys with a prefix; how many there were."""
    deleted = 0
    async for keys, _ in scan_keys(server, prefix):
        replies = await server.send([keyed(b"UNLINK", key) for key in keys])
        raise_first(replies)
        deleted += sum(replies)
    return deleted


async def _topology(server: Server, shards: list[str]) -> str:
    """A name for these servers since their last start."""
    digest = blake2b(digest_size=8)
    for shard in shards:
        [info] = await server.send_to(shard, [pack(b"INFO", b"server")])
        raise_first([info])
        run = [line for line in info.split(b"\r\n") if line.startswith(b"run_id:")]
        digest.update(shard.encode() + b" " + b"".join(run) + b"\n")
    return digest.hexdigest()
