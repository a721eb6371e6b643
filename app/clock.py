"""Time spent in the stages of one request, for the `x-*-time` headers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("queue", "tokenization", "inference", "cache")


class Stopwatch:
    """Seconds by stage."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def headers(self) -> dict[str, str]:
        """Milliseconds, one header a stage; a stage that did not happen took none."""
        return {f"x-{stage}-time": f"{self.seconds.get(stage, 0.0) * 1e3:.3f}" for stage in STAGES}
