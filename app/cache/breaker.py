"""A circuit breaker: after a failure, leave a sick server alone for a while. Pure."""

from __future__ import annotations

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


class Breaker:
    """Closed until a failure; then open for a pause that doubles with each failure in a row.

    After a pause one caller may try (half open): its success closes the breaker.
    """

    def __init__(self) -> None:
        self._pause = 0.0
        self._open_until = 0.0

    @property
    def is_closed(self) -> bool:
        return self._pause == 0.0

    def allows(self, now: float) -> bool:
        """Whether to try at `now` (seconds, monotonic). In half-open state, only one may."""
        if self._pause == 0.0:
            return True
        if now < self._open_until:
            return False
        self._open_until = now + self._pause
        return True

    def succeeded(self) -> None:
        self._pause = 0.0

    def failed(self, now: float) -> None:
        self._pause = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._pause * 2))
        self._open_until = now + self._pause
