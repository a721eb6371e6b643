"""The time that a request has: for its body to come, and to be answered.

A timer a request costs a good part of what the rest of the envelope does, and nearly all are done
long before it. So all requests are looked at together, some times a second; who named a time has
a timer as well.
"""

from __future__ import annotations

import asyncio

from app.errors import ApiError, DeadlineExceeded, InvalidField, SlowBody

HEADER = "x-request-timeout-ms"
# A body may take longer, as long as it comes at this rate on the mean: uploads are large.
MIN_BODY_RATE = 32 * 1024
MAX_DIGITS = 15
LOOK_EVERY_S = 0.25


class Watch:
    """Cancels the task of a request whose time is over; `error` says which time that was.

    Args:
        started: on the loop's clock.
        body_s: for the body to come, beyond what its size takes at `MIN_BODY_RATE`.
        deadline: on the loop's clock, for the answer; infinity for none.
        may_cut: whether the work may be given up once the body is there. What changes something
            is not: whoever asked for it has to be told what became of it.
    """

    __slots__ = (
        "_body_until",
        "_deadline",
        "_may_cut",
        "_task",
        "error",
        "is_reading",
        "read",
        "timer",
    )

    def __init__(self, started: float, body_s: float, deadline: float, *, may_cut: bool) -> None:
        self._task = asyncio.current_task()
        self._body_until = started + body_s
        self._deadline = deadline
        self._may_cut = may_cut
        self.is_reading = False
        self.read = 0
        self.error: ApiError | None = None
        self.timer: asyncio.TimerHandle | None = None

    def ended(self) -> ApiError | None:
        """Called where the task was cancelled: our error, or None if it was somebody else."""
        if self.error is not None and self._task is not None and self._task.uncancel() == 0:
            return self.error
        return None

    def look(self, now: float) -> None:
        """End the request if a time of its is over."""
        if self.error is not None:
            return
        if now >= self._deadline and (self.is_reading or self._may_cut):
            self._end(DeadlineExceeded("the time for this request is over"))
        elif self.is_reading and now >= self._body_until + self.read / MIN_BODY_RATE:
            self._end(SlowBody("the body did not come in time"))

    def _end(self, error: ApiError) -> None:
        if self._task is not None:
            self.error = error
            self._task.cancel()


class Watches:
    """All requests of a process that are being worked on."""

    def __init__(self) -> None:
        self._active: set[Watch] = set()
        self._is_looking = False

    def add(self, watch: Watch, timer_at: float | None = None) -> None:
        """Look at a request from now on; at a certain moment as well, if one is given."""
        self._active.add(watch)
        loop = asyncio.get_running_loop()
        if timer_at is not None:
            watch.timer = loop.call_at(timer_at, watch.look, timer_at)
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(LOOK_EVERY_S, self._look, loop)

    def remove(self, watch: Watch) -> None:
        self._active.discard(watch)
        if watch.timer is not None:
            watch.timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for watch in list(self._active):
            watch.look(now)
        self._is_looking = bool(self._active)
        if self._is_looking:
            loop.call_later(LOOK_EVERY_S, self._look, loop)


def parse_timeout(value: bytes, longest_s: float) -> float:
    """Seconds that a request asks for, at most `longest_s`.

    Raises:
        InvalidField: no whole number of milliseconds, at least 1.
    """
    if not value.isdigit() or len(value) > MAX_DIGITS or int(value) < 1:
        raise InvalidField(f"{HEADER}: expected whole milliseconds, at least 1", param=HEADER)
    return min(longest_s, int(value) / 1e3)
