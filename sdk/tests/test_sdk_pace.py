"""polyhead.cli._pace: rates and time left against a clock that the test turns."""

from __future__ import annotations

import pytest

pytest.importorskip("typer")

from polyhead.cli._pace import WINDOW_S, Pace


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_rows_of_an_earlier_run_are_done_but_not_fast():
    clock = Clock()
    pace = Pace(1000, 600, clock)
    assert (pace.rate(), pace.left()) == (None, None)
    assert str(pace) == "600 of 1,000 rows"
    clock.now += 2
    pace.add(100)
    assert pace.rate() == 50
    assert pace.left() == 6
    assert str(pace) == "700 of 1,000 rows, 50 rows/s, 0:00:06 left"


def test_the_rate_is_of_late():
    clock = Clock()
    pace = Pace(100_000, clock=clock)
    for _ in range(100):  # slow for a long time
        clock.now += 10
        pace.add(10)
    for _ in range(20):  # then fast
        clock.now += 10
        pace.add(1000)
    assert pace.rate() == pytest.approx(100)
    assert len(pace._marks) < WINDOW_S / 10 + 3


def test_hours():
    clock = Clock()
    pace = Pace(1_000_000, clock=clock)
    clock.now += 1
    pace.add(100)
    assert str(pace).endswith("2:46:39 left")
