"""The queue of texts waiting for a batch: packing alone, no clock, no device, no asyncio.

Every batch holds the text that has waited longest, and around it the neighbours in length that make
the pass worth most (`models.packing.best_window`). So nothing starves: a text is in a batch at the
latest when every text that came before it has gone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from models.packing import BatchRule, best_window, reach

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
        return 1.0 - self.real_tokens / self.tokens  # a batch is at least one token wide


class LengthQueue(Generic[Entry]):
    """Waiting entries, by length and by arrival.

    Args:
        rule: how the encoder wants its batches.
    """

    def __init__(self, rule: BatchRule) -> None:
        self._rule = rule
        # Sorted (padded length, arrival, own length, entry): neighbours in length lie together, and
        # of one length the older come first. Arrivals are distinct, so entries are not compared.
        self._by_length: list[tuple[int, int, int, Entry]] = []
        self._by_arrival: dict[Entry, tuple[int, int]] = {}  # dicts keep the order of arrival
        self._arrivals = 0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._by_length)

    def push(self, entry: Entry, length: int) -> None:
        """Queue an entry of `length` tokens.

        Raises:
            ValueError: it is longer than the encoder takes.
        """
        padded = self._rule.padded(length)
        insort(self._by_length, (padded, self._arrivals, length, entry))
        self._by_arrival[entry] = (padded, self._arrivals)
        self._arrivals += 1
        self.tokens += padded

    def discard(self, entry: Entry) -> bool:
        """Drop a waiting entry; False when it is not here (any more)."""
        place = self._by_arrival.pop(entry, None)
        if place is None:
            return False
        del self._by_length[bisect_left(self._by_length, place)]
        self.tokens -= place[0]
        return True

    def take(self) -> Batch[Entry] | None:
        """The next batch, or None when nothing waits."""
        if not self._by_length:
            return None
        oldest = next(iter(self._by_arrival.values()))
        anchor = bisect_left(self._by_length, oldest)
        room = reach(oldest[0], self._rule)
        start = max(0, anchor - room)
        near = self._by_length[start : anchor + room]
        padded = np.array([item[0] for item in near], dtype=np.int64)
        real = np.array([item[2] for item in near], dtype=np.int64)
        first, end = best_window(padded, real, anchor - start, self._rule)
        chosen = near[first:end]
        del self._by_length[start + first : start + end]
        for item in chosen:
            del self._by_arrival[item[3]]
            self.tokens -= item[0]
        return Batch([item[3] for item in chosen], chosen[-1][0], int(real[first:end].sum()))
