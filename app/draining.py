"""The end of a process that others send requests to: out of their lists first, then down.

After SIGTERM uvicorn takes no connection any more and answers what it has. A proxy that has not
heard of it meets closed ports until it has. With a time to drain, `/ready` says 503 and answers
give up their connections for that time, while everything is still served.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

import uvicorn


class Draining:
    """Whether this process is about to end."""

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.is_on = False


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which serves on for a while after its first SIGTERM.

    Args:
        config: uvicorn's.
        draining: set meanwhile.
        drain_s: for how long; a second signal ends it.
    """

    def __init__(self, config: uvicorn.Config, draining: Draining, drain_s: float) -> None:
        super().__init__(config)
        self._draining = draining
        self._drain_s = drain_s
        self._ends_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self.started and self._drain_s and not self._draining.is_on:
            self._draining.is_on = True
            self._ends_at = time.monotonic() + self._drain_s
            self._captured_signals.append(sig)  # as uvicorn does: it ends by this signal
            return
        self._draining.is_on = True
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)
