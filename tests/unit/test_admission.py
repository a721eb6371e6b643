"""app.encoding.admission: permits and the guess of when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.encoding.admission import FIRST_GUESS_TOKENS_PER_S, Admission


def test_all_permits_or_none() -> None:
    admission = Admission(max_texts=3, max_tokens=100)
    assert admission.try_enter(2)
    assert not admission.try_enter(2)
    assert admission.texts == 2
    assert admission.try_enter(1)
    assert admission.try_enter(0)
    assert not admission.try_enter(1)


def test_permits_come_back() -> None:
    admission = Admission(max_texts=2, max_tokens=100)
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


@pytest.mark.parametrize(
    ("waiting", "new", "room"),
    [(0, 1000, True), (1, 99, True), (1, 100, False), (100, 0, True), (100, 1, False)],
)
def test_room_in_tokens_but_alone_anything_may(waiting: int, new: int, room: bool) -> None:
    assert Admission(1, max_tokens=100).has_room(waiting, new) is room


def test_retry_after_is_half_of_what_waits_within_bounds() -> None:
    admission = Admission(1, 1)
    assert admission.retry_after(0) == 1.0
    assert admission.retry_after(10**9) == 30.0
    assert admission.retry_after(int(20 * FIRST_GUESS_TOKENS_PER_S)) == 10.0


def test_retry_after_learns_the_speed() -> None:
    admission = Admission(1, 1)
    tokens = int(20 * FIRST_GUESS_TOKENS_PER_S)
    for _ in range(100):
        admission.record(int(FIRST_GUESS_TOKENS_PER_S) * 2, 1.0)
    assert admission.retry_after(tokens) == pytest.approx(5.0, rel=0.01)


def test_a_batch_that_took_no_time_teaches_nothing() -> None:
    admission = Admission(1, 1)
    before = admission.retry_after(50_000)
    admission.record(100, 0.0)
    assert admission.retry_after(50_000) == before
