"""How fast rows go by, and how long the rest takes. Pure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0
"""Seconds that the rate looks back: a service that was slow an hour ago says little of the next."""


class Pace:
    """Counts rows against a clock."""

    def __init__(
        self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            total: Rows in all.
            done: Rows that an earlier run has done: they count as done, not as fast.
            clock: Seconds.
        """
        self.total = total
        self.done = done
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque([(clock(), done)])

    def add(self, rows: int) -> None:
        """Some more are done."""
        self.done += rows
        now = self._clock()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and self._marks[1][0] <= now - WINDOW_S:
            self._marks.popleft()

    def rate(self) -> float | None:
        """Rows a second, of late; None before the first."""
        since, done = self._marks[0]
        seconds = self._clock() - since
        return (self.done - done) / seconds if self.done > done and seconds > 0 else None

    def left(self) -> float | None:
        """Seconds to the end at this rate; None while there is none."""
        rate = self.rate()
        return None if rate is None else (self.total - self.done) / rate

    def __str__(self) -> str:
        """For people: `1,200 of 5,000 rows, 310 rows/s, 0:00:12 left`."""
        rate, left = self.rate(), self.left()
        parts = [f"{self.done:,} of {self.total:,} rows"]
        if rate is not None and left is not None:
            minutes, seconds = divmod(round(left), 60)
            hours, minutes = divmod(minutes, 60)
            parts += [f"{rate:,.0f} rows/s", f"{hours}:{minutes:02}:{seconds:02} left"]
        return ", ".join(parts)
