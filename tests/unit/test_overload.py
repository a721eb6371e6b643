"""app.overload: refused are requests that come while the loop is late and has enough to do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.overload import ENOUGH, LOOK_EVERY_S, Lateness

MAX_LAG_S = 0.1
LATE = MAX_LAG_S + 0.01


def test_a_loop_in_time_refuses_nothing() -> None:
    lateness = Lateness(MAX_LAG_S)
    now = 0.0
    for _ in range(100):
        now += LOOK_EVERY_S
        lateness.tick(now)
        assert not lateness.refuses(now, 10 * ENOUGH)
    assert lateness.lag < 1e-9


def test_a_late_loop_refuses_only_when_it_has_enough_to_do() -> None:
    lateness = Lateness(MAX_LAG_S)
    now = LOOK_EVERY_S + LATE
    lateness.tick(now)
    assert lateness.refuses(now, ENOUGH)
    assert not lateness.refuses(now, ENOUGH - 1)


def test_a_timer_that_is_overdue_counts_before_it_goes_off() -> None:
    lateness = Lateness(MAX_LAG_S)
    assert not lateness.refuses(LOOK_EVERY_S, ENOUGH)
    assert lateness.refuses(LOOK_EVERY_S + LATE, ENOUGH)


def test_it_is_over_when_the_timer_is_in_time_again() -> None:
    lateness = Lateness(MAX_LAG_S)
    lateness.tick(LOOK_EVERY_S + LATE)
    now = LOOK_EVERY_S + LATE + LOOK_EVERY_S
    lateness.tick(now)
    assert not lateness.refuses(now, 10 * ENOUGH)


def test_a_timer_that_was_off_is_not_late() -> None:
    lateness = Lateness(MAX_LAG_S)
    lateness.restart(1000.0)
    assert not lateness.refuses(1000.0, 10 * ENOUGH)


@given(st.lists(st.floats(0, 1), max_size=50), st.floats(0, 1), st.integers(0, 1000))
def test_refused_is_what_the_later_of_both_measures_says(
    waits: list[float], since: float, in_progress: int
) -> None:
    lateness = Lateness(MAX_LAG_S)
    now, due, lag = 0.0, LOOK_EVERY_S, 0.0
    for wait in waits:
        now += wait
        lag, due = max(0.0, now - due), now + LOOK_EVERY_S
        lateness.tick(now)
    now += since
    expected = in_progress >= ENOUGH and max(lag, now - due) > MAX_LAG_S
    assert lateness.refuses(now, in_progress) == expected
