"""The queue of texts waiting for a batch: packing alone, no clock, no device, no asyncio.

Every entry belongs to a length bucket and every batch is of one bucket, so that a text always meets
the same shape. The fullest bucket goes first, since it wastes least; but an entry that
`max_skipped` batches have passed over makes its bucket go next, so nothing starves.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from models.buckets import bucket_for

Entry = TypeVar("Entry", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Batch(Generic[Entry]):
    """Entries of one forward pass, all padded to `length` tokens."""

    entries: list[Entry]
    length: int
    real_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of the pass, padding included."""
        return len(self.entries) * self.length

    @property
    def padding_share(self) -> float:
        return 1.0 - self.real_tokens / self.tokens


class BucketQueue(Generic[Entry]):
    """First in, first out within a bucket.

    Args:
        buckets: padded lengths, ascending.
        max_batch_tokens: budget of a batch, padding included; one entry always fits.
        max_skipped: how many batches may overtake an entry before its bucket must go.
    """

    def __init__(self, buckets: Sequence[int], *, max_batch_tokens: int, max_skipped: int) -> None:
        if not buckets or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"buckets must ascend, not {list(buckets)}")
        self._buckets = tuple(buckets)
        self._max_batch_tokens = max_batch_tokens
        self._max_skipped = max_skipped
        # Dicts keep arrival order and drop any entry at once: (arrival, batches before, length).
        self._waiting: dict[int, dict[Entry, tuple[int, int, int]]] = {b: {} for b in buckets}
        self._bucket_of: dict[Entry, int] = {}
        self._arrivals = 0
        self._batches = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._bucket_of)

    def bucket_for(self, length: int) -> int:
        """The shortest bucket that holds `length` tokens.

        Raises:
            ValueError: none does.
        """
        return bucket_for(length, self._buckets)

    def push(self, entry: Entry, length: int) -> None:
        """Queue an entry of `length` tokens."""
        bucket = self.bucket_for(length)
        self._waiting[bucket][entry] = (self._arrivals, self._batches, length)
        self._bucket_of[entry] = bucket
        self._arrivals += 1
        self.tokens += bucket

    def discard(self, entry: Entry) -> bool:
        """Drop a waiting entry; False when it is not here (any more)."""
        bucket = self._bucket_of.pop(entry, None)
        if bucket is None:
            return False
        del self._waiting[bucket][entry]
        self.tokens -= bucket
        return True

    def take(self) -> Batch[Entry] | None:
        """The next batch, or None when nothing waits."""
        if not self._bucket_of:
            return None
        bucket = self._choose()
        room = max(1, self._max_batch_tokens // bucket)
        waiting = self._waiting[bucket]
        entries = [entry for entry, _ in zip(waiting, range(room), strict=False)]
        real_tokens = sum(waiting[entry][2] for entry in entries)
        for entry in entries:
            self.discard(entry)
        self._batches += 1
        return Batch(entries, bucket, real_tokens)

    def _choose(self) -> int:
        oldest = [
            (next(iter(waiting.values())), bucket)
            for bucket, waiting in self._waiting.items()
            if waiting
        ]
        (_, batches_before, _), bucket = min(oldest)
        if self._batches - batches_before >= self._max_skipped:
            return bucket

        def fullness(item: tuple[tuple[int, int, int], int]) -> tuple[int, int]:
            (arrival, _, _), bucket = item
            tokens = min(len(self._waiting[bucket]) * bucket, self._max_batch_tokens)
            return tokens, -arrival

        return max(oldest, key=fullness)[1]
