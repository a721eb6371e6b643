"""Whether a request is refused unread: how late the event loop is, and what it has in hand. Pure.

Cached texts cost nothing but time on the loop. Where more of them come than the loop can answer,
no queue grows that could be looked at: they wait in the sockets, and the loop gets late.
"""

from __future__ import annotations

LOOK_EVERY_S = 0.02  # how often a timer of the loop is looked at
# A loop is late for other reasons, too (a busy machine, the collector): with few requests in
# progress it is not their number that makes it so. It is also as many as are let in when it is
# late: enough to share products of heads, few enough to be answered soon.
ENOUGH = 100


class Lateness:
    """How late a timer is that should go off every `LOOK_EVERY_S`.

    Args:
        max_lag_s: how late it may be before requests are refused.
        now: on the loop's clock, as in all methods.
    """

    __slots__ = ("_due", "_max_lag_s", "lag")

    def __init__(self, max_lag_s: float, now: float = 0.0) -> None:
        self._max_lag_s = max_lag_s
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget what was measured: the timer was off, and is on again."""
        self.lag = 0.0
        self._due = now + LOOK_EVERY_S

    def tick(self, now: float) -> None:
        """The timer went off."""
        self.lag = max(0.0, now - self._due)
        self._due = now + LOOK_EVERY_S

    def refuses(self, now: float, in_progress: int) -> bool:
        """Whether a request that has just come is too much, with so many others in progress."""
        if in_progress < ENOUGH:
            return False
        # A timer that is overdue at this moment says more than the one before.
        return self.lag > self._max_lag_s or now - self._due > self._max_lag_s
