"""app.encoding.queue against a list of what waits."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.encoding.queue import BucketQueue

BUCKETS = (4, 8, 16)


def filled(*lengths: int, budget: int = 16, max_skipped: int = 100) -> BucketQueue[int]:
    queue: BucketQueue[int] = BucketQueue(BUCKETS, max_batch_tokens=budget, max_skipped=max_skipped)
    for entry, length in enumerate(lengths):
        queue.push(entry, length)
    return queue


@dataclass
class Waiting:
    entry: int
    bucket: int
    length: int
    batches_before: int
    due: int | None = None


class QueueMachine(RuleBasedStateMachine):
    """Pushes, takes and discards in any order; the model is a list in order of arrival."""

    @initialize(budget=st.sampled_from([2, 8, 16, 40]), max_skipped=st.integers(0, 4))
    def start(self, budget: int, max_skipped: int) -> None:
        self.budget, self.max_skipped = budget, max_skipped
        self.queue = filled(budget=budget, max_skipped=max_skipped)
        self.waiting: list[Waiting] = []
        self.pushed = self.batches = 0

    def room(self, bucket: int) -> int:
        return max(1, self.budget // bucket)

    @rule(lengths=st.lists(st.integers(0, 16), min_size=1, max_size=6))
    def push(self, lengths: list[int]) -> None:
        for length in lengths:
            bucket = next(b for b in BUCKETS if b >= length)
            self.queue.push(self.pushed, length)
            self.waiting.append(Waiting(self.pushed, bucket, length, self.batches))
            self.pushed += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.discard(gone.entry)
        assert not self.queue.discard(gone.entry)
        self.waiting.remove(gone)

    @rule()
    def take(self) -> None:
        self.set_due()
        batch = self.queue.take()
        if not self.waiting:
            assert batch is None
            return
        assert batch is not None
        same = [w for w in self.waiting if w.bucket == batch.length]
        expected = same[: self.room(batch.length)]  # first in, first out, and as many as fit
        assert batch.entries == [w.entry for w in expected]
        assert batch.real_tokens == sum(w.length for w in expected)
        assert batch.tokens == len(expected) * batch.length
        assert batch.tokens <= self.budget or len(expected) == 1
        if batch.tokens:
            assert batch.padding_share == pytest.approx(1 - batch.real_tokens / batch.tokens)
        self.waiting = [w for w in self.waiting if w not in expected]
        self.batches += 1
        assert all(w.due is None or self.batches < w.due for w in self.waiting)

    def set_due(self) -> None:
        """An overdue entry goes with the batches that its elders need, itself included."""
        for place, one in enumerate(self.waiting):
            if one.due is None and self.batches - one.batches_before >= self.max_skipped:
                ahead = dict.fromkeys(BUCKETS, 0)
                for elder in self.waiting[: place + 1]:
                    ahead[elder.bucket] += 1
                needed = sum(ceil(count / self.room(bucket)) for bucket, count in ahead.items())
                one.due = self.batches + needed

    @invariant()
    def counts_are_exact(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.tokens == sum(w.bucket for w in self.waiting)

    def teardown(self) -> None:
        while getattr(self, "waiting", None):
            self.take()
            self.counts_are_exact()


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_fullest_bucket_goes_first() -> None:
    batch = filled(1, 8, 8, 1).take()
    assert batch is not None
    assert (batch.entries, batch.length) == ([1, 2], 8)


def test_full_buckets_are_equal_and_the_elder_goes() -> None:
    batch = filled(8, 16, 8).take()
    assert batch is not None
    assert batch.entries == [0, 2]


def test_an_entry_over_the_budget_goes_alone() -> None:
    batch = filled(16, 16, budget=4).take()
    assert batch is not None
    assert (batch.entries, batch.tokens) == ([0], 16)


@pytest.mark.parametrize("max_skipped", [0, 1, 3])
def test_a_lone_entry_is_passed_over_no_more_than_max_skipped_times(max_skipped: int) -> None:
    queue = filled(1, budget=16, max_skipped=max_skipped)
    overtaken = 0
    for entry in range(100, 200, 2):
        queue.push(entry, 16)
        queue.push(entry + 1, 16)
        batch = queue.take()
        assert batch is not None
        if batch.entries == [0]:
            break
        overtaken += 1
    assert overtaken == max_skipped


def test_padding_share() -> None:
    batch = filled(1, 2).take()
    assert batch is not None
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


@pytest.mark.parametrize("buckets", [(), (8, 4), (4, 4)])
def test_buckets_must_ascend(buckets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        BucketQueue(buckets, max_batch_tokens=1, max_skipped=0)
