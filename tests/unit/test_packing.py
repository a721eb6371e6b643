"""models.packing against searching everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.packing import (
    BUCKETS,
    PACKED_TEXTS,
    BatchRule,
    best_window,
    buckets_up_to,
    partition,
    reach,
)

SOME_BUCKETS = (4, 8, 16)
lengths = st.integers(1, 16)
many = st.lists(lengths, min_size=1, max_size=24)
budgets = st.sampled_from([1, 7, 16, 40, 100])
overheads = st.sampled_from([0, 1, 16, 200])


attentions = st.sampled_from([0.0, 0.002, 0.1])


def window_of(own: list[int], anchor: int, rule: BatchRule) -> tuple[int, int]:
    padded = np.array([rule.padded(length) for length in own], dtype=np.int64)
    return best_window(padded, anchor, rule)


def up(number: int) -> int:
    return math.ceil(number / 16) * 16


def share(own: list[int], first: int, end: int, rule: BatchRule) -> float:
    """Of what a packed batch costs, what its texts are worth."""
    chosen = own[first:end]
    pairs = sum(up(max(chosen)) ** 2 for _ in chosen)
    return sum(chosen) / (up(sum(chosen)) + rule.attention * pairs + rule.overhead)


def allowed(own: list[int], first: int, end: int, rule: BatchRule) -> bool:
    return end - first == 1 or up(sum(own[first:end])) <= rule.max_tokens


@given(many, st.data(), budgets, overheads, attentions)
def test_no_allowed_window_around_the_anchor_is_better(
    own: list[int], data: st.DataObject, budget: int, overhead: int, attention: float
) -> None:
    own = sorted(own)
    anchor = data.draw(st.integers(0, len(own) - 1))
    rule = BatchRule(budget, overhead, attention=attention)
    first, end = window_of(own, anchor, rule)
    assert 0 <= first <= anchor < end <= len(own)
    assert allowed(own, first, end, rule)
    best = max(
        share(own, start, stop, rule)
        for start in range(anchor + 1)
        for stop in range(anchor + 1, len(own) + 1)
        if allowed(own, start, stop, rule)
    )
    assert share(own, first, end, rule) == pytest.approx(best, rel=1e-12)


@given(many, st.data(), budgets)
def test_with_buckets_a_window_is_of_one_padded_length_and_as_full_as_can_be(
    own: list[int], data: st.DataObject, budget: int
) -> None:
    own = sorted(own)
    anchor = data.draw(st.integers(0, len(own) - 1))
    rule = BatchRule(budget, buckets=SOME_BUCKETS)
    first, end = window_of(own, anchor, rule)
    assert 0 <= first <= anchor < end <= len(own)
    padded = [rule.padded(length) for length in own]
    assert set(padded[first:end]) == {padded[anchor]}
    room = max(1, budget // padded[anchor])
    assert end - first == min(room, padded.count(padded[anchor]))


def test_other_lengths_are_taken_where_another_pass_would_cost_more() -> None:
    for overhead, expected in ((16, (0, 2)), (0, (0, 1))):
        assert window_of([16, 48], 0, BatchRule(64, overhead, attention=0.01)) == expected


def test_a_text_over_the_budget_goes_alone() -> None:
    for overhead in (0, 16):
        assert window_of([16, 16, 16], 1, BatchRule(4, overhead)) == (1, 2)


def test_a_packed_batch_has_no_more_texts_than_the_bound() -> None:
    first, end = window_of([1] * 500, 250, BatchRule(10_000, 16))
    assert end - first == PACKED_TEXTS


@given(many, st.data(), budgets, st.sampled_from([None, SOME_BUCKETS]))
def test_what_is_out_of_reach_changes_nothing(
    own: list[int], data: st.DataObject, budget: int, buckets: tuple[int, ...] | None
) -> None:
    own = sorted(own)
    anchor = data.draw(st.integers(0, len(own) - 1))
    rule = BatchRule(budget, 8, buckets=buckets, attention=0.01)
    room = reach(rule.padded(own[anchor]), rule)
    start = max(0, anchor - room)
    first, end = window_of(own[start : anchor + room], anchor - start, rule)
    assert (start + first, start + end) == window_of(own, anchor, rule)


@given(
    st.lists(lengths, max_size=60),
    budgets,
    overheads,
    st.sampled_from([None, SOME_BUCKETS]),
)
def test_a_partition_has_every_text_once_within_the_budget(
    own: list[int], budget: int, overhead: int, buckets: tuple[int, ...] | None
) -> None:
    rule = BatchRule(budget, overhead, buckets=buckets)
    batches = list(partition(own, rule))
    assert sorted(index for chosen, _ in batches for index in chosen) == list(range(len(own)))
    for chosen, width in batches:
        longest = max(own[index] for index in chosen)
        assert width == rule.width(longest)
        tokens = rule.tokens(len(chosen), sum(own[index] for index in chosen), longest)
        assert tokens <= budget or len(chosen) == 1
        if buckets is not None:
            assert {rule.width(own[index]) for index in chosen} == {width}
            assert tokens == len(chosen) * width
    widths = [width for _, width in batches]
    assert widths == sorted(widths, reverse=True)


def padding_share(own: list[int], rule: BatchRule) -> float:
    spent = sum(
        rule.tokens(len(chosen), sum(own[index] for index in chosen), width)
        for chosen, width in partition(own, rule)
    )
    return 1 - sum(own) / spent


@pytest.mark.parametrize("seed", range(5))
def test_a_deep_queue_of_many_lengths_has_little_padding(seed: int) -> None:
    spread = 0.6
    drawn = np.random.default_rng(seed).lognormal(np.log(26) - spread**2 / 2, spread, 2000)
    own = [int(length) for length in drawn.round().clip(3, 512)]
    assert np.mean(own) == pytest.approx(26, abs=1.5)
    rule = BatchRule(512, overhead=16, attention=0.002)
    assert padding_share(own, rule) < 0.02
    # Not for the price of small batches: about as many as the budget asks for.
    assert len(list(partition(own, rule))) < 1.25 * sum(own) / rule.max_tokens
    assert padding_share(own, BatchRule(512, overhead=16, buckets=BUCKETS)) > 0.10


def test_padded_lengths() -> None:
    rule = BatchRule(64, buckets=SOME_BUCKETS)
    assert [rule.padded(length) for length in (0, 1, 4, 5, 8, 9, 16)] == [4, 4, 4, 8, 8, 16, 16]
    with pytest.raises(ValueError, match="17 tokens are over the longest bucket, 16"):
        rule.padded(17)
    packed = BatchRule(64)
    assert [packed.padded(length) for length in (0, 1, 17, 5000)] == [1, 1, 17, 5000]
    assert [packed.width(length) for length in (0, 1, 16, 17, 500)] == [16, 16, 16, 32, 512]
    assert [packed.tokens(3, real, 9) for real in (0, 3, 16, 27)] == [16, 16, 16, 32]
    assert rule.tokens(3, 12, 5) == 24


@given(st.integers(4, 1200), st.integers(0, 100))
def test_buckets_hold_every_length_up_to_the_limit_and_none_is_over_it(
    max_tokens: int, more: int
) -> None:
    limit = max_tokens + more
    buckets = buckets_up_to(max_tokens, limit)
    assert list(buckets) == sorted(set(buckets))
    assert max_tokens <= buckets[-1] <= min(limit, max_tokens + 15)
    assert buckets[-1] == limit or buckets[-1] % 16 == 0
    assert set(buckets[:-1]) <= set(BUCKETS)


def test_buckets_up_to() -> None:
    assert buckets_up_to(512, 512) == BUCKETS
    assert buckets_up_to(40, 40) == (16, 32, 40)
    assert buckets_up_to(40, 512) == (16, 32, 48)
    assert buckets_up_to(16, 512) == (16,)
