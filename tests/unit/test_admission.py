"""app.encoding.admission: permits, the bound on waiting, and the guess of when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.encoding.admission import PATIENCE, Admission


def of_speed(tokens_per_s: int, max_wait_s: float = 1.0, workers: int = 1) -> Admission:
    admission = Admission(1, max_wait_s, workers)
    admission.record(tokens_per_s // workers, 1.0)
    return admission


def test_all_permits_or_none() -> None:
    admission = Admission(max_texts=3, max_wait_s=1)
    assert admission.try_enter(2)
    assert not admission.try_enter(2)
    assert admission.texts == 2
    assert admission.try_enter(1)
    assert admission.try_enter(0)
    assert not admission.try_enter(1)


def test_permits_come_back() -> None:
    admission = Admission(max_texts=2, max_wait_s=1)
    admission.try_enter(2)
    admission.leave(1)
    assert admission.try_enter(1)
    admission.leave(2)
    assert admission.texts == 0


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 8))
def test_never_over_the_limit_and_exact(sizes: list[int], limit: int) -> None:
    admission = Admission(limit, 1)
    inside = 0
    for size in sizes:
        if admission.try_enter(size):
            inside += size
        else:
            assert inside + size > limit
            admission.leave(inside)
            inside = 0
        assert admission.texts == inside <= limit


@pytest.mark.parametrize("workers", [1, 4])
def test_late_is_what_waits_longer_than_the_limit_and_some_times_its_own_work(
    workers: int,
) -> None:
    admission = of_speed(1000, max_wait_s=0.25, workers=workers)
    assert not admission.is_late(ahead=250, own=0)
    assert admission.is_late(ahead=251, own=0)
    assert not admission.is_late(ahead=250 + PATIENCE * 100, own=100)
    assert admission.is_late(ahead=251 + PATIENCE * 100, own=100)


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_nothing_is_late_when_nothing_is_ahead_or_the_speed_is_not_known(
    ahead: int, own: int
) -> None:
    assert not of_speed(1).is_late(0, own)
    assert not Admission(1, 1).is_late(ahead, own)


def test_retry_after_is_half_of_what_waits_within_bounds() -> None:
    assert Admission(1, 1).retry_after(10**9) == 1.0
    admission = of_speed(2000)
    assert admission.retry_after(0) == 1.0
    assert admission.retry_after(10**9) == 30.0
    assert admission.retry_after(40_000) == 10.0


def test_the_first_batch_tells_the_speed_and_later_ones_correct_it() -> None:
    admission = of_speed(2000)
    assert admission.retry_after(40_000) == 10.0
    for _ in range(100):
        admission.record(4000, 1.0)
    assert admission.retry_after(40_000) == pytest.approx(5.0, rel=0.01)


def test_while_texts_wait_the_time_between_batches_counts_and_not_the_passes() -> None:
    admission = Admission(1, 1, workers=2)
    for _ in range(100):
        admission.record(1000, pass_s=0.5, since_last_s=1.0)
    assert admission.retry_after(20_000) == pytest.approx(10.0, rel=0.01)


def test_a_batch_that_took_no_time_at_first_teaches_nothing() -> None:
    admission = Admission(1, 1)
    admission.record(100, 0.0)
    assert admission.retry_after(10**9) == 1.0
