"""The one middleware: request id, body limit, time limits, request metrics. Plain ASGI."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.draining import Draining
from app.errors import ApiError, TooLarge, error_answer
from app.logs import request_id
from app.metrics import Metrics, Tally
from app.tracing import Tracing
from app.watch import HEADER, Watch, Watches, parse_timeout

logger = logging.getLogger("app.access")

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9_.:-]{1,64}$")
HEADER_BYTES = HEADER.encode()
_KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of every request: see the settings of the same names.

    `max_upload_bytes` is for labelled texts and imported heads, `max_body_bytes` for the rest.
    """

    max_body_bytes: int
    max_upload_bytes: int
    body_timeout_s: float
    max_request_s: float


class Envelope:
    """Around every HTTP request.

    Args:
        app: what is wrapped.
        metrics: where requests are counted.
        bounds: bodies over them are cut while they are read, requests when their time is over.
        main_path: paths whose work may be given up at any time, as that of every GET may.
        tracing: where traces go; None for nowhere.
        draining: says that connections are to be given up.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        bounds: Bounds,
        main_path: Container[str] = (),
        tracing: Tracing | None = None,
        draining: Draining | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._bounds = bounds
        self._main_path = main_path
        self._tracing = tracing
        self._draining = draining or Draining()
        self._watches = Watches()
        self._durations: dict[str, Any] = {}
        self._requests: dict[tuple[str, int], Tally] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, _read_head(scope), self._limit(scope), self._draining)
        name = exchange.head.request_id.decode()
        request_id.set(name)
        if self._tracing is not None:
            scope["trace"] = self._tracing.start(scope, name)
        watch = exchange.watch
        error: ApiError | None = None
        try:
            watch = exchange.watch = self._watch(scope, exchange.head)
            exchange.check_declared()
            await self._app(scope, exchange.receive, exchange.send)
        except ApiError as raised:
            error = raised
        except asyncio.CancelledError:
            error = watch.ended() if watch is not None else None
            if error is None:
                raise
        finally:
            if watch is not None:
                self._watches.remove(watch)
            if error is not None and not exchange.status:  # else its reader is too slow
                await exchange.refuse(scope, error)
            seconds = time.perf_counter() - exchange.started
            self._record(scope, exchange.status or 500, seconds)

    def _watch(self, scope: Scope, head: _Head) -> Watch:
        now = asyncio.get_running_loop().time()
        may_cut = scope["path"] in self._main_path or scope["method"] in ("GET", "HEAD")
        deadline, timer_at = math.inf, None
        if head.timeout is not None:
            seconds = parse_timeout(head.timeout, self._bounds.max_request_s)
            deadline = timer_at = scope["deadline"] = now + seconds
        elif may_cut:
            deadline = scope["deadline"] = now + self._bounds.max_request_s
        watch = Watch(now, self._bounds.body_timeout_s, deadline, may_cut=may_cut)
        self._watches.add(watch, timer_at)
        return watch

    def _limit(self, scope: Scope) -> int:
        path: str = scope["path"]
        of_versions = ("/versions", "/versions/import", "/evaluate")
        is_upload = path.startswith("/v1/tasks/") and path.endswith(of_versions)
        is_internal = path.startswith("/internal/")
        bounds = self._bounds
        return bounds.max_upload_bytes if is_upload or is_internal else bounds.max_body_bytes

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, never the path: paths are the caller's and without number.
        pattern = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
        route = f"{method} {pattern}"
        duration = self._durations.get(route)
        if duration is None:
            duration = self._durations[route] = self._metrics.request_duration.labels(route)
        duration.observe(seconds)
        requests = self._requests.get((route, status))
        if requests is None:
            requests = self._metrics.tally(self._metrics.requests.labels(route, str(status)))
            self._requests[(route, status)] = requests
        requests.inc()
        error = None
        if status >= 400:
            error = scope.get("error_code") or str(status)
            self._metrics.errors.labels(error).inc()
        if "trace" in scope:
            scope["trace"].end(route, status, error)
        level = logging.INFO if status >= 400 else logging.DEBUG
        if logger.isEnabledFor(level):
            milliseconds = round(seconds * 1e3, 1)
            more = {"route": route, "status": status, "milliseconds": milliseconds, "error": error}
            name = request_id.get()
            logger.log(level, "%s %d %.1f ms %s", route, status, milliseconds, name, extra=more)


def read_request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The id that a request brings, if it is one."""
    for header, value in headers:
        if header == b"x-request-id" and _REQUEST_ID.match(value):
            return value
    return None


class _Head(NamedTuple):
    """What the envelope reads of a request's headers."""

    request_id: bytes
    declared: int | None
    timeout: bytes | None


def _read_head(scope: Scope) -> _Head:
    name, declared, timeout = b"", None, None
    for header, value in scope["headers"]:
        if header == b"x-request-id" and _REQUEST_ID.match(value):
            name = value
        elif header == b"content-length" and value.isdigit():
            declared = int(value)
        elif header == HEADER_BYTES:
            timeout = value
    return _Head(name or os.urandom(12).hex().encode(), declared, timeout)


class _Exchange:
    """One request and its answer: what came in, and what has gone out."""

    __slots__ = (
        "_draining",
        "_limit",
        "_receive",
        "_send",
        "head",
        "started",
        "status",
        "unread",
        "watch",
    )

    def __init__(
        self, receive: Receive, send: Send, head: _Head, limit: int, draining: Draining
    ) -> None:
        self.started = time.perf_counter()
        self.head = head
        self.status = 0
        self.unread = True  # the body, or a part of it
        self.watch: Watch | None = None
        self._receive = receive
        self._send = send
        self._limit = limit
        self._draining = draining

    def check_declared(self) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
            TooLarge: it does.
        """
        if self.head.declared is not None and self.head.declared > self._limit:
            raise _too_large(self._limit)

    async def receive(self) -> Message:
        assert self.watch is not None
        self.watch.is_reading = self.unread
        message = await self._receive()
        self.watch.is_reading = False
        if message["type"] == "http.request":
            self.watch.read += len(message.get("body", b""))
            if self.watch.read > self._limit:
                raise _too_large(self._limit)
            self.unread = bool(message.get("more_body"))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            total = (time.perf_counter() - self.started) * 1e3
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self.head.request_id),
                (b"x-total-time", b"%.3f" % total),
            ]
            # Where the rest of the body is not read, the connection cannot be used again.
            if (self.status in (408, 413) and self.unread) or self._draining.is_on:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def refuse(self, scope: Scope, error: ApiError) -> None:
        """Answer with an error of the envelope's own."""
        await error_answer(scope, error)(scope, self._receive, self.send)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over {limit} bytes", code="body_too_large")
