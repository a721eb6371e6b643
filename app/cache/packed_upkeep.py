"""Looking after the packed layout: opening generations, moving codes into larger ones.

Any process that writes does it, now and then. What the list of generations becomes is decided by
`generations.advance`; here the facts are asked for, and the list is replaced only if it is still
the one that the decision was made on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Iterator

from redis.exceptions import InvalidResponse

from app.cache import generations as state
from app.cache.commands import Command, keyed, pack
from app.cache.generations import Generation, Generations
from app.cache.packed_layout import bucket_keys, read_digest, writes
from app.cache.server import Reply, Server, is_foreign, raise_first

logger = logging.getLogger(__name__)

GENERATIONS_PREFIX = b"phg:"
LEASE_PREFIX = b"phl:"
LEASE_S = b"30"
SAMPLE = 64
CHUNK = 16  # buckets that move together: a millisecond of the server's time
EXISTS_CHUNK = 512
LISTPACK_ENTRIES = 288  # seven deviations over the mean of a full generation
# Replace a key's value if it is still what it was; an empty string is none, or a foreign one.
_SWAP = b"""
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' then held = '' end
if held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
# Delete a key if it holds what it should.
_RELEASE = b"""
if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 0
"""


def generations_key(tag: bytes) -> bytes:
    """Where the list of generations is."""
    return GENERATIONS_PREFIX + tag


def bucket_values(key: bytes, reply: Reply) -> Iterator[tuple[bytes, bytes]]:
    """Digests and values of a bucket, from the reply to HGETALL."""
    if not isinstance(reply, list):  # of another type
        return
    for field, value in zip(reply[::2], reply[1::2], strict=True):
        digest = read_digest(key, field)
        if digest is not None:
            yield digest, value


def _seconds(clock: Reply) -> int:
    """The server's Unix seconds, from the reply to TIME."""
    try:
        return int(clock[0])
    except (TypeError, ValueError, LookupError):
        raise InvalidResponse("the answer to TIME is none") from None


class Upkeep:
    """Keeps the generations of each fingerprint as `generations.advance` says.

    Args:
        server: with the codes.
        ttl_s: what codes should live for; 0 for ever.
        grace_s: how long to wait for writes that began with an older list.
    """

    def __init__(self, server: Server, ttl_s: int, grace_s: float) -> None:
        self._server = server
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._limits_checked = False

    async def open(self, tag: bytes, known: Generations | None) -> Generations:
        """The list that the server holds; if it holds none (any more), what this process knows."""
        while True:
            key = generations_key(tag)
            held, clock = await self._server.send([keyed(b"GET", key), (key, pack(b"TIME"))])
            if not is_foreign(held):
                raise_first([held])  # not known, which is not the same as lost
            raise_first([clock])
            try:
                return state.read(held)
            except (ValueError, AttributeError):  # AttributeError: None, or of another type
                was = held if isinstance(held, bytes) else b""
            made = known or state.first(_seconds(clock), self._ttl_s)
            if await self._swap(tag, was, state.write(made)):
                return made

    async def look(self, tag: bytes, value_bytes: int) -> None:
        """Open a generation if it is time to, and move codes if there are any to be moved."""
        if not self._limits_checked:
            self._limits_checked = True
            await self._check_limits(value_bytes)
        if state.to_merge(await self.advance(tag)) is not None:
            await self._merge_all(tag)

    async def advance(self, tag: bytes) -> Generations:
        """Open a generation if it is time to; the list then."""
        generations = await self.open(tag, None)
        now, mean = await self._facts(tag, generations[0])
        wanted = state.advance(generations, now, mean, self._ttl_s)
        if wanted == generations:
            return generations
        if await self._swap(tag, state.write(generations), state.write(wanted)):
            return wanted
        return await self.open(tag, None)  # another process was faster

    async def _facts(self, tag: bytes, newest: Generation) -> tuple[int, float]:
        """The server's time, and the mean of codes a bucket of the newest generation."""
        sample: list[Command] = []
        for _ in range(SAMPLE):
            place = random.randrange(newest.buckets)  # noqa: S311
            [bucket] = bucket_keys(tag, newest, place, place + 1)
            sample.append(keyed(b"HLEN", bucket))
        clock, *lengths = await self._server.send([(generations_key(tag), pack(b"TIME")), *sample])
        raise_first([clock])
        counts = [length for length in lengths if isinstance(length, int)]
        return _seconds(clock), sum(counts) / max(1, len(counts))

    async def _merge_all(self, tag: bytes) -> None:
        """Merge what is to be merged, unless another process is at it."""
        lease, token = LEASE_PREFIX + tag, secrets.token_bytes(8)
        take = keyed(b"SET", lease, token, b"NX", b"EX", LEASE_S)
        [taken] = await self._server.send([take])
        if taken is None or isinstance(taken, Exception):
            return
        try:
            while pair := state.to_merge(await self.open(tag, None)):
                await self._merge(tag, *pair)
        finally:
            # Its own alone: after a long pause it can be another's.
            await self._server.send([(lease, pack(b"EVAL", _RELEASE, b"1", lease, token))])

    async def _merge(self, tag: bytes, source: Generation, target: Generation) -> None:
        """Move all codes of a generation into another, and take it off the list.

        Copies before it deletes, and deletes only what it copied: cut off anywhere, it can be done
        again, by two at once too.
        """
        logger.info("moving codes from %d to %d buckets", source.buckets, target.buckets)
        started, moved = time.monotonic(), 0
        await asyncio.sleep(self._grace_s)
        left = bucket_keys(tag, source, 0, source.buckets)
        while left:
            for start in range(0, len(left), CHUNK):
                begun = time.monotonic()
                moved += await self._move(tag, left[start : start + CHUNK], target)
                # The server has others to answer: half of the time at the most.
                await asyncio.sleep(time.monotonic() - begun)
            left = await self._existing(left)
        while True:
            generations = await self.open(tag, None)
            without = state.merged(generations, source.number)
            if await self._swap(tag, state.write(generations), state.write(without)):
                break
        logger.info("moved %d codes in %.1f s", moved, time.monotonic() - started)

    async def _move(self, tag: bytes, keys: list[bytes], target: Generation) -> int:
        *replies, _ = await self._server.send(
            [keyed(b"HGETALL", key) for key in keys]
            + [keyed(b"EXPIRE", LEASE_PREFIX + tag, LEASE_S)]
        )
        values: dict[bytes, bytes] = {}
        emptied: list[Command] = []
        for key, reply in zip(keys, replies, strict=True):
            if is_foreign(reply):  # in the way
                emptied.append(keyed(b"UNLINK", key))
            elif isinstance(reply, Exception):  # of a node that is not there, say: not now
                raise reply
            elif reply:
                values.update(bucket_values(key, reply))
                emptied.append(keyed(b"HDEL", key, *reply[::2]))
        if values:
            raise_first(
                await self._server.send(writes(tag, target, list(values), list(values.values())))
            )
        if emptied:
            raise_first(await self._server.send(emptied))
        return len(values)

    async def _existing(self, keys: list[bytes]) -> list[bytes]:
        existing = []
        for start in range(0, len(keys), EXISTS_CHUNK):
            chunk = keys[start : start + EXISTS_CHUNK]
            replies = await self._server.send([keyed(b"EXISTS", key) for key in chunk])
            raise_first(replies)
            existing += [key for key, there in zip(chunk, replies, strict=True) if there]
        return existing

    async def _swap(self, tag: bytes, held: bytes, wanted: bytes) -> bool:
        key = generations_key(tag)
        script = pack(b"EVAL", _SWAP, b"1", key, held, wanted)
        replies = await self._server.send([(key, script)])
        raise_first(replies)
        return bool(replies[0])

    async def _check_limits(self, value_bytes: int) -> None:
        """Warn, once, of a server on which buckets would not stay listpacks."""
        wanted = {
            "hash-max-listpack-entries": LISTPACK_ENTRIES,
            "hash-max-listpack-value": value_bytes,
        }
        for shard in await self._server.shards():
            for name, least in wanted.items():
                [reply] = await self._server.send_to(
                    shard, [pack(b"CONFIG", b"GET", name.encode())]
                )
                if isinstance(reply, list) and len(reply) == 2:
                    if int(reply[1]) >= least:
                        continue
                    logger.warning(
                        "the server's %s is %d: set it to %d at least, or codes in the packed "
                        "layout take more memory than in the string layout",
                        name,
                        int(reply[1]),
                        least,
                    )
                else:
                    logger.warning("cannot read the server's %s: it must be %d", name, least)
