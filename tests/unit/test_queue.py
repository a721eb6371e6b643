"""app.encoding.queue against a list of what waits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.encoding.queue import Batch, TurnQueue
from models.packing import PACKED_TEXTS, BatchRule, best_window, candidates

BUCKETS = (4, 8, 16)


def filled(*lengths: int, rule: BatchRule | None = None) -> TurnQueue[int]:
    queue: TurnQueue[int] = TurnQueue(rule or BatchRule(16, buckets=BUCKETS))
    for entry, length in enumerate(lengths):
        queue.push(entry, length)
    return queue


@dataclass
class Waiting:
    entry: int
    padded: int
    length: int
    turn: float
    due: float  # the number of the batch that has it at the latest


class QueueMachine(RuleBasedStateMachine):
    """Pushes, takes and discards in any order; the model is a list in order of arrival."""

    buckets: tuple[int, ...] | None = None

    @initialize(budget=st.sampled_from([2, 8, 16, 40]), overhead=st.sampled_from([0, 4, 50]))
    def start(self, budget: int, overhead: int) -> None:
        self.batching = BatchRule(budget, overhead, buckets=self.buckets, attention=0.05)
        self.queue = filled(rule=self.batching)
        self.waiting: list[Waiting] = []  # in the order of their turns
        self.pushed = self.batches = 0
        self.time = 0.0

    @rule(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=8))
    def push(self, lengths: list[int]) -> None:
        for place, length in enumerate(lengths):
            padded = self.batching.padded(length)
            self.queue.push(self.pushed, length, place)
            elders = sum(w.turn <= self.time + place for w in self.waiting)
            # The first of a request waits for one batch for each of its elders, and no younger one.
            due = self.batches + elders + 1 if place == 0 else math.inf
            self.waiting.append(Waiting(self.pushed, padded, length, self.time + place, due))
            self.pushed += 1
        self.waiting.sort(key=lambda w: (w.turn, w.entry))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.discard(gone.entry)
        assert not self.queue.discard(gone.entry)
        self.waiting.remove(gone)

    @rule()
    def take(self) -> None:
        batch = self.queue.take()
        if not self.waiting:
            assert batch is None
            return
        assert batch is not None
        self.time = max(self.time, self.waiting[0].turn)
        requests = sum(w.turn < self.time + 1 for w in self.waiting)
        expected = self.expected()
        self.time += len(expected) / requests
        assert batch.entries == [w.entry for w in expected]
        assert self.waiting[0].entry in batch.entries
        longest = max(w.length for w in expected)
        assert batch.width == self.batching.width(longest)
        assert batch.real_tokens == sum(w.length for w in expected)
        assert batch.tokens == self.batching.tokens(len(expected), batch.real_tokens, longest)
        assert batch.tokens <= self.batching.max_tokens or len(expected) == 1
        assert batch.padding_share == pytest.approx(1 - batch.real_tokens / batch.tokens)
        self.waiting = [w for w in self.waiting if w not in expected]
        self.batches += 1
        assert all(self.batches < w.due for w in self.waiting)

    def expected(self) -> list[Waiting]:
        """The best window around the oldest, of those whose turn comes next."""
        oldest = self.waiting[0]
        near = self.waiting[: candidates(oldest.padded, self.batching)]
        by_length = sorted(near, key=lambda w: w.padded)  # stable: of a length, by turn
        padded = np.array([w.padded for w in by_length], dtype=np.int64)
        first, end = best_window(padded, by_length.index(oldest), self.batching)
        return by_length[first:end]

    @invariant()
    def counts_are_exact(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.tokens == sum(w.padded for w in self.waiting)

    def teardown(self) -> None:
        while getattr(self, "waiting", None):
            self.take()
            self.counts_are_exact()


class BucketQueueMachine(QueueMachine):
    buckets = BUCKETS

    def expected(self) -> list[Waiting]:
        """First in, first out of the oldest's length, and as many as fit."""
        oldest = self.waiting[0].padded
        room = max(1, self.batching.max_tokens // oldest)
        near = self.waiting[: 8 * room]
        expected = [w for w in near if w.padded == oldest][:room]
        assert expected == super().expected()
        return expected


TestQueueMachine = QueueMachine.TestCase
TestBucketQueueMachine = BucketQueueMachine.TestCase
for case in (TestQueueMachine, TestBucketQueueMachine):
    case.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def taken(queue: TurnQueue[Any]) -> Batch[Any]:
    batch = queue.take()
    assert batch is not None
    return batch


def test_the_oldest_goes_first_even_where_others_are_fuller() -> None:
    queue = filled(1, 8, 8)
    assert taken(queue).entries == [0]
    assert taken(queue).entries == [1, 2]


def test_the_oldest_takes_its_neighbours_along_and_nobody_of_another_length() -> None:
    batch = taken(filled(8, 16, 7))
    assert (batch.entries, batch.width, batch.tokens) == ([0, 2], 8, 16)


def test_without_buckets_neighbours_in_length_share_a_batch() -> None:
    queue = filled(20, 4, 19, 21, 5, rule=BatchRule(64, overhead=4, attention=0.05))
    batch = taken(queue)
    assert (batch.entries, batch.width, batch.tokens) == ([2, 0, 3], 32, 64)
    assert (taken(queue).entries, len(queue)) == ([1, 4], 0)


def test_of_one_length_the_elder_goes() -> None:
    queue = filled(8, 8, 8, rule=BatchRule(16, overhead=1))
    assert taken(queue).entries == [0, 1]
    assert taken(queue).entries == [2]


def test_an_entry_over_the_budget_goes_alone() -> None:
    batch = taken(filled(16, 16, rule=BatchRule(4, buckets=BUCKETS)))
    assert (batch.entries, batch.tokens) == ([0], 16)


@pytest.mark.parametrize("buckets", [None, BUCKETS])
def test_an_odd_one_is_not_overtaken_by_full_batches(buckets: tuple[int, ...] | None) -> None:
    queue = filled(*[16] * 6, 1, rule=BatchRule(16, buckets=buckets))
    for entry in range(6):
        queue.push(100 + 2 * entry, 16)
        queue.push(101 + 2 * entry, 16)
        assert taken(queue).entries == [entry]
    assert taken(queue).entries == [6]


def test_padding_share() -> None:
    batch = taken(filled(1, 2))
    assert batch.padding_share == pytest.approx(1 - 3 / 8)


def test_an_empty_queue_gives_nothing() -> None:
    queue = filled()
    assert queue.take() is None
    assert not queue.discard(7)


def test_a_taken_entry_cannot_be_discarded() -> None:
    queue = filled(1)
    queue.take()
    assert not queue.discard(0)
    assert queue.tokens == 0


def test_a_length_over_the_longest_bucket_is_refused_and_changes_nothing() -> None:
    queue = filled(1)
    with pytest.raises(ValueError, match="17 tokens"):
        queue.push(9, 17)
    assert (len(queue), queue.tokens) == (1, 4)
    assert not queue.discard(9)


def test_requests_take_turns() -> None:
    queue: TurnQueue[str] = TurnQueue(BatchRule(16, buckets=(16,)))  # one a batch
    for place in range(4):
        queue.push(f"large {place}", 1, place)
    queue.push("small", 1)
    order = [taken(queue).entries[0] for _ in range(3)]
    queue.push("late", 1)
    order += [taken(queue).entries[0] for _ in range(3)]
    assert order == ["large 0", "small", "large 1", "large 2", "late", "large 3"]


@pytest.mark.parametrize("size", [1, 20, 200])
def test_a_request_ends_however_many_others_keep_coming(size: int) -> None:
    queue: TurnQueue[str] = TurnQueue(BatchRule(64, buckets=(16,)))  # four a batch
    crowd = 40
    for place in range(size):
        queue.push(f"ours {place}", 16, place)
    left, batches, pushed = size, 0, 0
    while left:
        while len(queue) - left < crowd:  # as many others wait, whatever is taken
            queue.push(f"other {pushed}", 16)
            pushed += 1
        batch = queue.take()
        assert batch is not None
        batches += 1
        left -= sum(entry.startswith("ours") for entry in batch.entries)
        # Our share is one of all who wait: a text of ours for each round of the crowd.
        assert batches <= 1.05 * (size + 2) * (crowd + 1) / 4


def test_no_more_than_the_candidates_overtake_an_odd_length() -> None:
    """Under a load of one length that never ends, with another length behind the first hundred."""
    queue: TurnQueue[str] = TurnQueue(BatchRule(256, 16, attention=0.002))
    pushed = 0
    while pushed < 100:
        queue.push(f"common {pushed}", 20)
        pushed += 1
    queue.push("odd", 200)
    served: list[str] = []
    while "odd" not in served:
        served += taken(queue).entries
        while len(queue) < 100:
            queue.push(f"common {pushed}", 20)
            pushed += 1
    overtook = [entry for entry in served if entry != "odd" and int(entry.split()[1]) >= 100]
    assert len(overtook) <= PACKED_TEXTS


def test_ahead_counts_those_whose_turn_comes_first() -> None:
    queue: TurnQueue[str] = TurnQueue(BatchRule(64))
    assert queue.ahead(10) == 0
    for place in range(100):
        queue.push(f"large {place}", 10, place)
    assert queue.ahead(1) == 10
    assert queue.ahead(30) == 300
    assert queue.ahead(1000) == 1000
    for number in range(5):
        queue.push(f"small {number}", 10)
    assert queue.ahead(1) == 60
