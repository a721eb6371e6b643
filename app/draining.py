"""Leaving a balancer before closing the door: `/ready` says no for a while, then uvicorn stops."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Protocol

import uvicorn

logger = logging.getLogger(__name__)


class Drained(Protocol):
    """What is told that the process is about to stop."""

    draining: bool


class DrainingServer(uvicorn.Server):
    """uvicorn, but the first SIGTERM only makes the process unready, and `drain_s` later stops it.

    Requests are answered meanwhile: a balancer needs a look or two at `/ready` to stop sending.
    Any further signal, and Ctrl-C, stop at once.
    """

    def __init__(self, config: uvicorn.Config, app: Drained, drain_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Uvicorn's signal handler, in the main thread."""
        first = not self._app.draining
        self._app.draining = True
        if sig != signal.SIGTERM or not first or not self._drain_s:
            super().handle_exit(sig, frame)
            return
        logger.info("stopping in %g s: /ready answers 503 until then", self._drain_s)
        timer = threading.Timer(self._drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()
