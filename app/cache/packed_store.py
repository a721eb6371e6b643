"""The layout `packed`: many codes a key, half the memory of a key a code. See `packed_layout`.

Every round trip also reads the list of generations, so that a process learns at once that another
opened one. That makes these hold, however operations of several processes interleave:

- What was written is found. A writer that reads, after its write, that its generation is no longer
  the newest writes again into that which is; a generation is only taken off the list after the
  list that opened its successor was readable for longer than a write can take.
- What is being moved is found. It is written to its new place before it is deleted from the old
  one, and readers ask the older generations first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from app.cache import generations as state
from app.cache.commands import Command, keyed
from app.cache.generations import Generations
from app.cache.keys import fingerprint_tag
from app.cache.packed_layout import (
    BUCKET_PREFIX,
    bucket_keys,
    deletes,
    reads,
    writes,
)
from app.cache.packed_upkeep import Upkeep, bucket_values, generations_key
from app.cache.scan import unlink
from app.cache.server import (
    Reply,
    Server,
    ServerError,
    is_foreign,
    raise_first,
    without_foreign,
)
from app.cache.store import Page

logger = logging.getLogger(__name__)

UPKEEP_CODES = 1024  # written by this process since the last look at how full buckets are
UPKEEP_S = 5.0
SCAN_BUCKETS = 64
ATTEMPTS = 4
ADVANCE_PAUSE_S = 1.0
MOVE_S = 1.0  # far longer than it takes to move a few buckets


class PackedStore:
    """See `CodeStore`.

    Args:
        server: to keep values on.
        ttl_s: how long what is stored lives at least, and a slice more at most; 0 for ever.
        grace_s: after which no write is still under way.
    """

    def __init__(self, server: Server, *, ttl_s: int = 0, grace_s: float = 2.0) -> None:
        self._server = server
        self._upkeep = Upkeep(server, ttl_s, grace_s)
        self._known: dict[bytes, Generations] = {}
        self._held: dict[bytes, bytes] = {}  # what `_known` was read from
        self._advance_at: dict[bytes, float] = {}
        self._written = 0
        self._looked_at = 0.0
        self._keeping: asyncio.Task[None] | None = None

    async def get(self, fingerprint: str, digests: Sequence[bytes]) -> list[Reply]:
        tag = fingerprint_tag(fingerprint)
        found: list[Reply] = [None] * len(digests)
        missing: Sequence[int] = range(len(digests))
        asked: set[int] = set()
        for _ in range(ATTEMPTS):
            if not missing:
                break
            generations = self._known.get(tag, ())
            wanted = [one for one in generations if one.number not in asked]
            replies = await self._read(tag, wanted, [digests[place] for place in missing])
            asked.update(one.number for one in wanted)
            for place, *answers in zip(missing, *replies, strict=True):
                found[place] = _best(found[place], answers)
            if self._known.get(tag, ()) == generations:
                break
            # Opened since the last round trip: what is missing may be there.
            missing = [place for place in missing if not isinstance(found[place], bytes)]
        return found

    async def put(self, fingerprint: str, values: Mapping[bytes, bytes]) -> list[Exception]:
        tag = fingerprint_tag(fingerprint)
        digests, bodies = list(values), list(values.values())
        errors: list[Exception] = []
        for _ in range(ATTEMPTS):
            known = await self._to_write_to(tag)
            commands = writes(tag, known[0], digests, bodies)
            *replies, held = await self._server.send([*commands, _state_of(tag)])
            errors = await self._replace_foreign(commands, replies)
            if isinstance(held, Exception) and not is_foreign(held):
                # The node with the list is away: the others have taken their codes.
                return [*errors, held]
            now = self._learn(tag, held) or await self._open(tag)
            if now[0] == known[0]:
                break
            if known[0].number not in {one.number for one in now}:
                # Nobody looks there any more.
                await self._server.send(deletes(tag, known[0], digests))
        self._written += len(values)
        self._keep_up(tag, max(map(len, bodies), default=0))
        return errors

    async def delete(self, fingerprint: str, digests: Sequence[bytes]) -> int:
        tag = fingerprint_tag(fingerprint)
        deleted, generations = 0, await self._current(tag)
        # Oldest first, so that nothing slips by that is being moved; and once more when a move
        # that had read it already is over.
        passes = 2 if any(one.merging for one in generations) else 1
        for number in range(passes):
            await asyncio.sleep(number * MOVE_S)
            for generation in reversed(generations):
                replies = await self._server.send(deletes(tag, generation, digests))
                deleted += sum(reply or 0 for reply in without_foreign(replies))
        return deleted

    async def delete_all(self, fingerprint: str) -> int:
        tag = fingerprint_tag(fingerprint)
        self._known.pop(tag, None)
        replies = await self._server.send([keyed(b"UNLINK", generations_key(tag))])
        raise_first(replies)
        return int(replies[0]) + await unlink(self._server, BUCKET_PREFIX + tag)

    async def scan(self, fingerprint: str, position: str = "") -> AsyncIterator[Page]:
        tag = fingerprint_tag(fingerprint)
        number, start = map(int, position.split(":")) if position else (0, 0)
        # Oldest first, and the list is read anew for each: what moves meanwhile moves to a newer
        # one, and is met again there, even if that was opened only now.
        while left := [one for one in await self._current(tag) if one.number >= number]:
            generation = left[-1]
            if generation.number > number:
                number, start = generation.number, 0
            while start < generation.buckets:
                stop = min(start + SCAN_BUCKETS, generation.buckets)
                keys = bucket_keys(tag, generation, start, stop)
                replies = await self._server.send([keyed(b"HGETALL", key) for key in keys])
                replies = without_foreign(replies)
                values = {
                    digest: value
                    for key, reply in zip(keys, replies, strict=True)
                    for digest, value in bucket_values(key, reply)
                }
                start = stop
                yield Page(values, f"{number}:{stop}")
            number, start = number + 1, 0

    async def ping(self) -> None:
        await self._server.ping()

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._server.close()

    async def settled(self) -> None:
        """Wait for this process's upkeep."""
        while self._keeping is not None and not self._keeping.done():
            await asyncio.wait([self._keeping])

    async def _read(
        self, tag: bytes, wanted: Sequence[state.Generation], digests: Sequence[bytes]
    ) -> list[list[Reply]]:
        """Replies by generation, as in `wanted`; learns the list of generations on the way."""
        commands: list[Command] = []
        for generation in reversed(wanted):  # oldest first, see above
            commands += reads(tag, generation, digests)
        *replies, held = await self._server.send([*commands, _state_of(tag)])
        self._learn(tag, held)
        size = len(digests)
        return [replies[start : start + size] for start in range(0, len(replies), size)][::-1]

    def _learn(self, tag: bytes, held: Reply) -> Generations | None:
        """Take over the list that the server holds; None if it holds none."""
        if isinstance(held, bytes) and self._held.get(tag) == held and tag in self._known:
            return self._known[tag]  # as almost always
        try:
            self._known[tag] = state.read(held)
        except (ValueError, AttributeError):  # AttributeError: None, or an error
            return None
        self._held[tag] = held
        return self._known[tag]

    async def _current(self, tag: bytes) -> Generations:
        """The list that the server holds, asked for alone."""
        [held] = without_foreign(await self._server.send([_state_of(tag)]))
        return self._learn(tag, held) or ()

    async def _to_write_to(self, tag: bytes) -> Generations:
        known = self._known.get(tag) or await self._open(tag)
        if known[0].expires_at and time.time() >= known[0].closes_at:
            # By this clock. Whether it is so, and what is done, is decided by the server's: one
            # that is ahead of it would have every write ask.
            now = time.monotonic()
            if now >= self._advance_at.get(tag, 0.0):
                self._advance_at[tag] = now + ADVANCE_PAUSE_S
                with contextlib.suppress(*ServerError):  # full, say: then the write says so
                    known = self._know(tag, await self._upkeep.advance(tag))
        return known

    async def _open(self, tag: bytes) -> Generations:
        return self._know(tag, await self._upkeep.open(tag, self._known.get(tag)))

    def _know(self, tag: bytes, generations: Generations) -> Generations:
        """What was heard by another way than with a round trip of `get` or `put`."""
        self._held.pop(tag, None)
        self._known[tag] = generations
        return generations

    async def _replace_foreign(
        self, commands: Sequence[Command], replies: Sequence[Reply]
    ) -> list[Exception]:
        """Put buckets where keys of another type were in their way; the other errors."""
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if not errors:
            return errors
        foreign = {
            key: None
            for (key, _), reply in zip(commands, replies, strict=True)
            if is_foreign(reply)
        }
        errors = [error for error in errors if not is_foreign(error)]
        if foreign:
            again = [keyed(b"UNLINK", key) for key in foreign]
            # All that is to be done to a bucket: its expiry goes with the foreign key.
            again += [command for command in commands if command[0] in foreign]
            results = await self._server.send(again)
            errors += [reply for reply in results if isinstance(reply, Exception)]
        return errors

    def _keep_up(self, tag: bytes, value_bytes: int) -> None:
        """Look after the generations in the background, now and then."""
        now = time.monotonic()
        due = self._written >= UPKEEP_CODES or now - self._looked_at >= UPKEEP_S
        if not due or (self._keeping is not None and not self._keeping.done()):
            return
        self._written, self._looked_at = 0, now
        self._keeping = asyncio.create_task(self._look(tag, value_bytes), name="packed-upkeep")

    async def _look(self, tag: bytes, value_bytes: int) -> None:
        try:
            await self._upkeep.look(tag, value_bytes)
        except ServerError as error:
            # The type alone: a message can hold addresses or values. The next look tries again.
            logger.warning("looking after the cache's buckets failed: %s", type(error).__name__)


def _state_of(tag: bytes) -> Command:
    return keyed(b"GET", generations_key(tag))


def _best(found: Reply, answers: Sequence[Reply]) -> Reply:
    """Of the replies for one digest, newest generation first: a value, else an error, else None."""
    best = found
    for answer in answers:
        if isinstance(answer, bytes):
            return answer
        best = best or answer
    return best
