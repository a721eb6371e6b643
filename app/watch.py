"""The time that a request has: for its body to come, and to be answered.

One timer a request, that looks at where the request is when it goes off; most are done by then.
"""

from __future__ import annotations

import asyncio

from app.errors import ApiError, DeadlineExceeded, InvalidField, SlowBody

HEADER = "x-request-timeout-ms"
# A body may take longer, as long as it comes at this rate on the mean: uploads are large.
MIN_BODY_RATE = 32 * 1024
MAX_DIGITS = 15


class Watch:
    """Cancels the task of a request whose time is over; `error` says which time that was.

    Args:
        body_s: for the body to come, beyond what its size takes at `MIN_BODY_RATE`.
        deadline: on the loop's clock, for the answer; infinity for none.
        may_cut: whether the work may be given up once the body is there. What changes something
            is not: whoever asked for it has to be told what became of it.
    """

    __slots__ = (
        "_body_s",
        "_deadline",
        "_loop",
        "_may_cut",
        "_started",
        "_task",
        "_timer",
        "error",
        "is_reading",
        "read",
    )

    def __init__(self, body_s: float, deadline: float, *, may_cut: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._body_s = body_s
        self._deadline = deadline
        self._may_cut = may_cut
        self.is_reading = False
        self.read = 0
        self.error: ApiError | None = None
        first = min(self._started + body_s, deadline)
        self._timer = self._loop.call_at(first, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def ended(self) -> ApiError | None:
        """Called where the task was cancelled: our error, or None if it was somebody else."""
        if self.error is not None and self._task.uncancel() == 0:
            return self.error
        return None

    def _look(self) -> None:
        now = self._loop.time()
        body_until = self._started + self._body_s + self.read / MIN_BODY_RATE
        if now >= self._deadline and (self.is_reading or self._may_cut):
            self._end(DeadlineExceeded("the time for this request is over"))
        elif self.is_reading and now >= body_until:
            self._end(SlowBody("the body did not come in time"))
        else:
            again = body_until if body_until > now else now + self._body_s
            until = self._deadline if self._deadline > now else again
            self._timer = self._loop.call_at(min(again, until), self._look)

    def _end(self, error: ApiError) -> None:
        self.error = error
        self._task.cancel()


def parse_timeout(value: bytes, longest_s: float) -> float:
    """Seconds that a request asks for, at most `longest_s`.

    Raises:
        InvalidField: no whole number of milliseconds, at least 1.
    """
    if not value.isdigit() or len(value) > MAX_DIGITS or int(value) < 1:
        raise InvalidField(f"{HEADER}: expected whole milliseconds, at least 1", param=HEADER)
    return min(longest_s, int(value) / 1e3)
