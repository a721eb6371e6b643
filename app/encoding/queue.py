"""The queue of texts waiting for a batch: packing alone, no clock, no device, no asyncio.

Every batch holds the text whose turn it is, and of those whose turn comes next the neighbours in
length that make the pass worth most (`models.packing.best_window`). Only so many may be overtaken:
from among all that wait, odd lengths would wait several times as long as common ones.

Requests take turns: the first text of a new one comes before the hundredth of an old one. A text's
turn is the virtual time at which its request came plus its place in the request; virtual time goes
on by the texts of each batch, divided among the requests that wait, so that nothing starves
whatever keeps coming (Parekh and Gallager: Generalized Processor Sharing, 1993; a request is a
flow, a text a unit of work).

So do clients, above that, by the tokens that they were given: of the clients that have texts
waiting, the one that had the least so far comes next. Who opens a hundred connections, or sends
texts of a thousand tokens, gets no more than who asks for a line now and then (Goyal, Vin and
Cheng: Start-time Fair Queueing, 1996; a client is a flow, a padded token a unit of work).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from operator import itemgetter
from typing import Generic, TypeVar

import numpy as np

from models.packing import BatchRule, best_window, candidates

Entry = TypeVar("Entry", bound=Hashable)
# Clients that nothing waits for are remembered as long as they had more than others, or while they
# are few.
IDLE_CLIENTS = 64
# The service's own work (training), client "": beside one busy client it gets a fifth.
OWN_WORK_COST = 4.0


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


# (turn, arrival, padded length, own length, entry). Arrivals are distinct, so entries are not
# compared.
Item = tuple[float, int, int, int, Entry]


@dataclass(eq=False, slots=True)
class _Client(Generic[Entry]):
    """One client's waiting texts, by turn.

    `served` is the tokens it was given as virtual time, each at its `cost`.
    """

    served: float
    cost: float
    by_turn: list[Item[Entry]] = field(default_factory=list)
    virtual_time: float = 0.0
    tokens: int = 0


class TurnQueue(Generic[Entry]):
    """Waiting entries, in the order of their turns.

    Args:
        rule: how the encoder wants its batches.
    """

    def __init__(self, rule: BatchRule) -> None:
        self._rule = rule
        self._clients: dict[str, _Client[Entry]] = {}
        self._waiting: dict[Entry, tuple[_Client[Entry], float, int]] = {}  # client, turn, arrival
        self._arrivals = 0
        self._served = 0.0  # what the client that is next was given
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, entry: Entry, length: int, place: int = 0, client: str = "") -> None:
        """Queue an entry of `length` tokens, before which `place` others of its request come.

        Raises:
            ValueError: it is longer than the encoder takes.
        """
        padded = self._rule.padded(length)
        own = self._clients.get(client)
        if own is None:
            cost = 1.0 if client else OWN_WORK_COST
            own = self._clients[client] = _Client(self._served, cost)
        elif not own.by_turn:  # while it asked for nothing it saved up nothing
            own.served = max(own.served, self._served)
        turn = own.virtual_time + place
        insort(own.by_turn, (turn, self._arrivals, padded, length, entry))
        self._waiting[entry] = own, turn, self._arrivals
        self._arrivals += 1
        own.tokens += padded
        self.tokens += padded

    def discard(self, entry: Entry) -> bool:
        """Drop a waiting entry; False when it is not here (any more)."""
        found = self._waiting.pop(entry, None)
        if found is None:
            return False
        client, *key = found
        place = bisect_left(client.by_turn, tuple(key))
        padded = client.by_turn[place][2]
        client.tokens -= padded
        self.tokens -= padded
        del client.by_turn[place]
        return True

    def ahead(self, texts: int, tokens: float = 0.0, client: str = "") -> float:
        """About how many tokens come before the last text of a new request.

        Args:
            texts: of the request.
            tokens: of the request, all texts together.
            client: who asks.
        """
        own = self._clients.get(client)
        mine, served, cost = 0.0, self._served, 1.0
        if own is not None and own.by_turn:
            before = bisect_left(own.by_turn, (own.virtual_time + texts,))
            mine = before * own.tokens / len(own.by_turn)
        if own is not None:
            served, cost = max(served, own.served), own.cost
        # Others come first as long as they had less than we shall have had.
        until = served + (mine + tokens) * cost
        return mine + sum(
            min(other.tokens, max(0.0, until - other.served) / other.cost)
            for other in self._clients.values()
            if other is not own
        )

    def take(self) -> Batch[Entry] | None:
        """The next batch, or None when nothing waits."""
        waiting = [client for client in self._clients.values() if client.by_turn]
        if not waiting:
            return None
        next_one = min(waiting, key=_next)
        first = next_one.by_turn[0]
        self._served = max(self._served, next_one.served)
        near = self._coming(waiting, candidates(first[2], self._rule))
        near.sort(key=itemgetter(2))  # stable: of one length, by turn
        lengths = np.array([item[2] for item in near], dtype=np.int64)
        start, end = best_window(lengths, near.index(first), self._rule)
        chosen = near[start:end]
        self._give(chosen)
        real = sum(item[3] for item in chosen)
        longest = chosen[-1][2]
        return Batch(
            [item[4] for item in chosen],
            self._rule.width(longest),
            self._rule.tokens(len(chosen), real, longest),
            real,
        )

    @staticmethod
    def _coming(waiting: list[_Client[Entry]], count: int) -> list[Item[Entry]]:
        """The next texts, in the order in which they would be given one by one."""
        if len(waiting) == 1:
            return waiting[0].by_turn[:count]
        coming: list[Item[Entry]] = []
        heap = [(client.served, client.by_turn[0][1], 0, client) for client in waiting]
        heapify(heap)
        while heap and len(coming) < count:
            served, _, place, client = heappop(heap)
            item = client.by_turn[place]
            coming.append(item)
            if place + 1 < len(client.by_turn):
                after = client.by_turn[place + 1][1]
                heappush(heap, (served + item[2] * client.cost, after, place + 1, client))
        return coming

    def _give(self, chosen: list[Item[Entry]]) -> None:
        """Take texts out, and put them to their clients' accounts."""
        texts: dict[_Client[Entry], int] = {}
        for item in chosen:
            client = self._waiting[item[4]][0]
            texts[client] = texts.get(client, 0) + 1
            client.served += item[2] * client.cost
        for client, count in texts.items():
            now = max(client.virtual_time, client.by_turn[0][0])
            requests = bisect_left(client.by_turn, (now + 1,))
            # None where neighbours in length were taken before the text whose turn it is.
            client.virtual_time = now + count / max(1, requests)
        for item in chosen:
            self.discard(item[4])
        if not self._waiting:  # the busy time is over: all are equal again
            self._served = max(client.served for client in self._clients.values())
        if len(self._clients) > IDLE_CLIENTS:
            self._forget()

    def _forget(self) -> None:
        gone = [
            name
            for name, client in self._clients.items()
            if not client.by_turn and client.served <= self._served
        ]
        for name in gone:
            del self._clients[name]


def _next(client: _Client[Entry]) -> tuple[float, int]:
    """Who had the least comes first; of equals, whose text came first."""
    return client.served, client.by_turn[0][1]
