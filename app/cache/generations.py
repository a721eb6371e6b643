"""Generations of the packed layout: how many buckets there are, and when they expire. Pure.

A *generation* is a set of 2^bits buckets that expire together. The list of generations, newest
first, is kept in one small key that every process reads along with the codes. Codes are written to
the newest and looked for in all, so there are few: one where codes do not expire, two while it is
being replaced by a larger one, and `SLICES` + 1 where they expire.

- *Growth.* When the buckets of the newest hold more than `FULL` codes on the mean, a generation of
  twice as many buckets is opened before it, and the old one is marked `merging`: its codes are
  moved, and then it goes.
- *Expiry.* A generation is written to for a slice of the time to live, and its buckets expire when
  the last code written into it is due: a code lives for its time and a slice at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

FULL = 192  # mean codes a bucket; 512, where servers leave the listpack, is far off
ROOMY = 128  # what a new generation should come to hold at most
FIRST_BITS = 8
MAX_BITS = 32
SLICES = 2
# More than these are only there when processes disagree about the time to live.
MOST = 8


class Generation(NamedTuple):
    """Buckets that expire together.

    `closes_at` and `expires_at` are the server's Unix seconds, 0 for never.
    """

    number: int
    bits: int
    closes_at: int = 0
    expires_at: int = 0
    merging: bool = False

    @property
    def buckets(self) -> int:
        return 1 << self.bits


Generations = tuple[Generation, ...]


def write(generations: Generations) -> bytes:
    """What the key holds: `number bits closes expires merging`, separated by semicolons."""
    return b";".join(b"%d %d %d %d %d" % generation for generation in generations)


def read(held: bytes) -> Generations:
    """What `write` wrote.

    Raises:
        ValueError: it is anything else.
    """
    generations = []
    for part in held.split(b";"):
        number, bits, closes_at, expires_at, merging = map(int, part.split(b" "))
        if not (0 <= bits <= MAX_BITS and merging in (0, 1)):
            raise ValueError("not a generation")
        generations.append(Generation(number, bits, closes_at, expires_at, merging == 1))
    numbers = [generation.number for generation in generations]
    if write(tuple(generations)) != held or numbers != sorted(set(numbers), reverse=True):
        raise ValueError("not a list of generations")
    if min(numbers) < 0 or generations[0].merging:
        raise ValueError("not a list of generations")
    return tuple(generations)


def first(now: int, ttl_s: int) -> Generations:
    """A store's first generation."""
    return (_open(1, FIRST_BITS, now, ttl_s),)


def advance(generations: Generations, now: int, mean: float, ttl_s: int) -> Generations:
    """What the list should be.

    Args:
        generations: what it is.
        now: the server's Unix seconds.
        mean: codes a bucket of the newest.
        ttl_s: what codes should live for; 0 for ever.
    """
    newest, *others = generations
    others = _living(others, now)
    kept = (newest, *others)
    if len(kept) >= MOST:
        return kept
    due = newest.closes_at <= now if newest.expires_at else ttl_s > 0
    if due or (newest.expires_at and not ttl_s):
        opened = _open(newest.number + 1, bits_for(mean * newest.buckets), now, ttl_s)
        # What never expires is moved to where it does.
        former = newest._replace(merging=True) if not newest.expires_at else newest
        return (opened, *_living((former, *others), now))
    if mean > FULL and newest.bits < MAX_BITS and not any(one.merging for one in others):
        bits = min(MAX_BITS, max(newest.bits + 1, bits_for(mean * newest.buckets)))
        grown = newest._replace(number=newest.number + 1, bits=bits)
        return (grown, newest._replace(merging=True), *others)
    return kept


def to_merge(generations: Generations) -> tuple[Generation, Generation] | None:
    """The oldest generation that is to be merged, and the one that takes its codes."""
    for source, target in zip(generations[:0:-1], generations[-2::-1], strict=True):
        if source.merging:
            return source, target
    return None


def merged(generations: Generations, number: int) -> Generations:
    """The list after all codes of a generation were moved."""
    return tuple(one for one in generations if one.number != number)


def bits_for(codes: float) -> int:
    """The fewest bits whose buckets hold `ROOMY` codes on the mean at most."""
    needed = math.ceil(math.log2(max(1.0, codes) / ROOMY))
    return max(FIRST_BITS, min(MAX_BITS, needed))


def _living(generations: Iterable[Generation], now: int) -> list[Generation]:
    return [one for one in generations if not one.expires_at or one.expires_at > now]


def _open(number: int, bits: int, now: int, ttl_s: int) -> Generation:
    if not ttl_s:
        return Generation(number, bits)
    closes_at = now + math.ceil(ttl_s / SLICES)
    return Generation(number, bits, closes_at, closes_at + ttl_s)
