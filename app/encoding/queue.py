"""The queue of texts waiting for a batch: packing alone, no clock, no device, no asyncio.

Every batch holds the text whose turn it is, and of those whose turn comes next the neighbours in
length that make the pass worth most (`models.packing.best_window`). Only so many may be overtaken:
from among all that wait, odd lengths would wait several times as long as common ones.

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
from operator import itemgetter
from typing import Generic, TypeVar

import numpy as np

from models.packing import BatchRule, best_window, candidates

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


class TurnQueue(Generic[Entry]):
    """Waiting entries, in the order of their turns.

    Args:
        rule: how the encoder wants its batches.
    """

    def __init__(self, rule: BatchRule) -> None:
        self._rule = rule
        # Sorted (turn, arrival, padded length, own length, entry). Arrivals are distinct, so
        # entries are not compared.
        self._by_turn: list[tuple[float, int, int, int, Entry]] = []
        self._waiting: dict[Entry, tuple[float, int]] = {}  # (turn, arrival)
        self._arrivals = 0
        self._virtual_time = 0.0
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._by_turn)

    def push(self, entry: Entry, length: int, place: int = 0) -> None:
        """Queue an entry of `length` tokens, before which `place` others of its request come.

        Raises:
            ValueError: it is longer than the encoder takes.
        """
        padded = self._rule.padded(length)
        key = self._virtual_time + place, self._arrivals
        insort(self._by_turn, (*key, padded, length, entry))
        self._waiting[entry] = key
        self._arrivals += 1
        self.tokens += padded

    def discard(self, entry: Entry) -> bool:
        """Drop a waiting entry; False when it is not here (any more)."""
        key = self._waiting.pop(entry, None)
        if key is None:
            return False
        place = bisect_left(self._by_turn, key)
        self.tokens -= self._by_turn[place][2]
        del self._by_turn[place]
        return True

    def ahead(self, texts: int) -> float:
        """About how many tokens come before the last text of a new request of so many texts."""
        before = bisect_left(self._by_turn, (self._virtual_time + texts,))
        return before * self.tokens / max(1, len(self))

    def take(self) -> Batch[Entry] | None:
        """The next batch, or None when nothing waits."""
        if not self._by_turn:
            return None
        first = self._by_turn[0]
        self._virtual_time = max(self._virtual_time, first[0])
        requests = bisect_left(self._by_turn, (self._virtual_time + 1,))
        near = self._by_turn[: candidates(first[2], self._rule)]
        near.sort(key=itemgetter(2))  # stable: of one length, by turn
        lengths = np.array([item[2] for item in near], dtype=np.int64)
        start, end = best_window(lengths, near.index(first), self._rule)
        chosen = near[start:end]
        for item in chosen:
            self.discard(item[4])
        self._virtual_time += len(chosen) / requests
        real = sum(item[3] for item in chosen)
        longest = chosen[-1][2]
        return Batch(
            [item[4] for item in chosen],
            self._rule.width(longest),
            self._rule.tokens(len(chosen), real, longest),
            real,
        )
