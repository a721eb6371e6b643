"""app.cache.breaker: a clock in the test's hand."""

from __future__ import annotations

import pytest

from app.cache.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker


def test_a_new_breaker_lets_everyone_through() -> None:
    breaker = Breaker()
    assert breaker.is_closed
    assert all(breaker.allows(0.0) for _ in range(3))


def test_a_failure_opens_it_for_the_first_pause() -> None:
    breaker = Breaker()
    breaker.failed(100.0)
    assert not breaker.is_closed
    assert not breaker.allows(100.0)
    assert not breaker.allows(100.0 + FIRST_PAUSE_S * 0.99)
    assert breaker.allows(100.0 + FIRST_PAUSE_S)


def test_half_open_lets_one_try_a_pause() -> None:
    breaker = Breaker()
    breaker.failed(0.0)
    assert [breaker.allows(FIRST_PAUSE_S) for _ in range(3)] == [True, False, False]
    # The one that tried never came back: another may try after a further pause.
    assert breaker.allows(2 * FIRST_PAUSE_S)


def test_success_closes_it_and_forgets_the_failures() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(0.0)
    breaker.succeeded()
    assert breaker.is_closed
    assert breaker.allows(0.0)
    breaker.failed(10.0)
    assert breaker.allows(10.0 + FIRST_PAUSE_S)


def test_pauses_double_up_to_the_longest() -> None:
    breaker = Breaker()
    now, pauses = 0.0, []
    for _ in range(8):
        breaker.failed(now)
        pause = next(n / 100 for n in range(1, 1000) if breaker.allows(now + n / 100))
        pauses.append(pause)
        now += pause
    assert pauses == pytest.approx([0.25, 0.5, 1, 2, 4, LONGEST_PAUSE_S] + [LONGEST_PAUSE_S] * 2)
