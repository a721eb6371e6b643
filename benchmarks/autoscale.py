"""How many encoders an autoscaler wants: the rule of Kubernetes' HorizontalPodAutoscaler. Pure.

Each metric wants `ceil(ready * value / target)`, unless that is within a tenth of what there is;
the most that any metric wants counts. What is less is taken only when for a while nothing wanted
more (documentation of the HPA, "Algorithm details" and "Configurable scaling behavior", defaults).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """What is seen at a look.

    Attributes:
        moment: seconds.
        ready: encoders that take texts.
        starting: encoders that do not yet.
        queued_tokens: of all ready ones.
        utilisation: of their workers since the last look, 0 to 1.
    """

    moment: float
    ready: int
    starting: int
    queued_tokens: float
    utilisation: float


@dataclass(slots=True)
class Autoscaler:
    """The rule and its memory.

    Attributes:
        least: encoders there always are.
        most: that there may be.
        queued_tokens: wanted an encoder; None to go by utilisation alone.
        utilisation: wanted; None to go by tokens alone.
        interval_s: from look to look.
        start_s: from wanting an encoder to its first text: scheduling, image, loading, warming up.
        down_after_s: how long nothing may have wanted more, before there is less.
    """

    least: int
    most: int
    queued_tokens: float | None = None
    utilisation: float | None = 0.6
    interval_s: float = 15.0
    start_s: float = 30.0
    down_after_s: float = 300.0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def wanted(self, reading: Reading) -> int:
        """Encoders, those that are starting among them."""
        now = reading.ready + reading.starting
        ratios = []
        if self.queued_tokens is not None:
            ratios.append(reading.queued_tokens / reading.ready / self.queued_tokens)
        if self.utilisation is not None:
            ratios.append(reading.utilisation / self.utilisation)
        raw = max((self._by(ratio, reading) for ratio in ratios), default=now)
        raw = min(self.most, max(self.least, raw))
        self._recent.append((reading.moment, raw))
        while self._recent[0][0] < reading.moment - self.down_after_s:
            self._recent.popleft()
        if raw >= now:
            return min(raw, max(2 * now, now + 4))  # the default bound on a step up
        return min(now, max(count for _, count in self._recent))

    @staticmethod
    def _by(ratio: float, reading: Reading) -> int:
        if abs(ratio - 1.0) <= TOLERANCE:
            return reading.ready + reading.starting
        return math.ceil(reading.ready * ratio - 1e-9)
