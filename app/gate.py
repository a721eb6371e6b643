"""Refuses requests before they are read while the event loop is late (docs/decisions/020).

The answer is made of bytes in the connection itself. As an ASGI call a refusal would take five
times as long, and at three times the capacity nothing would be left for answers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

import orjson

from app.errors import Overloaded
from app.metrics import Metrics
from app.overload import LOOK_EVERY_S, Lateness

REST_AFTER_S = 1.0  # without a request the timer is not needed
RETRY_AFTER_S = 1
ERROR = Overloaded("too many requests at once: this one was not read")


class Gate:
    """Knows how late the loop is, counts what is refused, words the refusal.

    Args:
        metrics: where refusals are counted.
        paths: POST requests to these may be refused, nothing else ever.
        max_lag_s: how late the loop may be.
    """

    def __init__(self, metrics: Metrics, paths: Iterable[str], max_lag_s: float) -> None:
        self._lateness = Lateness(max_lag_s)
        self._is_ticking = False
        self._asked_at = 0.0
        self._metrics = metrics
        self._unread = metrics.unread
        self._errors = metrics.tally(metrics.errors.labels(ERROR.code))
        self._requests = {
            path.encode(): metrics.tally(metrics.requests.labels(f"POST {path}", "429"))
            for path in paths
        }
        self._body = orjson.dumps({"error": ERROR.body()})
        metrics.before_exposition.append(lambda: metrics.loop_lag.set(self._lateness.lag))

    def is_shut(self, loop: asyncio.AbstractEventLoop, in_progress: int) -> bool:
        """Whether a request on one of the paths is to be refused now. Asked at every request."""
        now = self._asked_at = loop.time()
        if not self._is_ticking:
            self._is_ticking = True
            self._lateness.restart(now)
            loop.call_later(LOOK_EVERY_S, self._tick, loop)
        return self._lateness.refuses(now, in_progress)

    def guards(self, method: bytes, url: bytes) -> bool:
        """Whether this request is one that may be refused."""
        return method == b"POST" and url.partition(b"?")[0] in self._requests

    def refusal(
        self, url: bytes, request_id: bytes | None, server: Iterable[tuple[bytes, bytes]]
    ) -> bytes:
        """The answer up to its last header, and the body; counted.

        Args:
            url: of a request that `guards` names.
            request_id: the request's own, if it has one.
            server: headers of every answer.
        """
        self._unread.inc()
        self._errors.inc()
        self._requests[url.partition(b"?")[0]].inc()
        headers = [
            *server,
            (b"content-type", b"application/json"),
            (b"retry-after", b"%d" % RETRY_AFTER_S),
            (b"x-request-id", request_id or os.urandom(12).hex().encode()),
            (b"content-length", b"%d" % len(self._body)),
        ]
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        return b"HTTP/1.1 429 Too Many Requests\r\n" + head + b"\r\n" + self._body

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._lateness.tick(now)
        self._is_ticking = now - self._asked_at < REST_AFTER_S
        if self._is_ticking:
            loop.call_later(LOOK_EVERY_S, self._tick, loop)
        else:
            self._lateness.restart(now)
