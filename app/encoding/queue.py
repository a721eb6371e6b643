"""The queue of texts waiting for a batch: packing alone, no clock, no device, no asyncio.

Every batch holds the text whose turn it is, and around it the neighbours in length that make the
pass worth most (`models.packing.best_window`).

Requests take turns: the first text of a new one comes before the hundredth of an old one. A text's
turn is the virtual time at which its request came plus its place in the request; virtual time goes
on by the texts of each batch, divided among the requests that wait, so that nothing starves
whatever keeps coming (Parekh and Gallager: Generalized Processor Sharing, 1993; a request is a
flow, a text a unit of work).
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
    """Entries of one forward pass.

    Attributes:
        entries: shortest first.
        width: of a row that holds the longest.
        tokens: of the pass, padding included.
        real_tokens: the entries' own.
    """

    entries: list[Entry]
    width: int
    tokens: int
    real_tokens: int

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
        # Sorted (padded length, turn, arrival, own length, entry): neighbours in length lie
        # together. Arrivals are distinct, so entries are not compared.
        self._by_length: list[tuple[int, float, int, int, Entry]] = []
        self._by_turn: list[tuple[float, int, int]] = []  # sorted (turn, arrival, padded length)
        self._waiting: dict[Entry, tuple[int, float, int]] = {}  # (padded length, turn, arrival)
        self._arrivals = 0
        self._virtual_time = 0.0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._by_length)

    def push(self, entry: Entry, length: int, place: int = 0) -> None:
        """Queue an entry of `length` tokens, before which `place` others of its request come.

        Raises:
            ValueError: it is longer than the encoder takes.
        """
        padded = self._rule.padded(length)
        key = padded, self._virtual_time + place, self._arrivals
        insort(self._by_length, (*key, length, entry))
        insort(self._by_turn, (*key[1:], padded))
        self._waiting[entry] = key
        self._arrivals += 1
        self.tokens += padded

    def discard(self, entry: Entry) -> bool:
        """Drop a waiting entry; False when it is not here (any more)."""
        key = self._waiting.get(entry)
        if key is None:
            return False
        del self._by_length[bisect_left(self._by_length, key)]
        self._forget(entry, key)
        return True

    def ahead(self, texts: int) -> float:
        """About how many tokens come before the last text of a new request of so many texts."""
        before = bisect_left(self._by_turn, (self._virtual_time + texts,))
        return before * self.tokens / max(1, len(self))

    def take(self) -> Batch[Entry] | None:
        """The next batch, or None when nothing waits."""
        if not self._by_turn:
            return None
        turn, arrival, padded = self._by_turn[0]
        self._virtual_time = max(self._virtual_time, turn)
        requests = bisect_left(self._by_turn, (self._virtual_time + 1,))
        anchor = bisect_left(self._by_length, (padded, turn, arrival))
        room = reach(padded, self._rule)
        start = max(0, anchor - room)
        near = self._by_length[start : anchor + room]
        lengths = np.array([item[0] for item in near], dtype=np.int64)
        first, end = best_window(lengths, anchor - start, self._rule)
        chosen = near[first:end]
        del self._by_length[start + first : start + end]
        for item in chosen:
            self._forget(item[4], item[:3])
        self._virtual_time += len(chosen) / requests
        real = sum(item[3] for item in chosen)
        longest = chosen[-1][0]
        return Batch(
            [item[4] for item in chosen],
            self._rule.width(longest),
            self._rule.tokens(len(chosen), real, longest),
            real,
        )

    def _forget(self, entry: Entry, key: tuple[int, float, int]) -> None:
        del self._waiting[entry]
        padded, turn, arrival = key
        del self._by_turn[bisect_left(self._by_turn, (turn, arrival))]
        self.tokens -= padded
