"""The one middleware: request id, body limit, total time, request metrics. Plain ASGI."""

from __future__ import annotations

import logging
import os
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import TooLarge, error_response
from app.metrics import Metrics, Tally

logger = logging.getLogger("app.access")

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9_.:-]{1,64}$")
_KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class Envelope:
    """Around every HTTP request.

    Args:
        app: what is wrapped.
        metrics: where requests are counted.
        max_body_bytes: bodies over this are refused while they are read, uploads excepted.
        max_upload_bytes: the limit of labelled texts and of imported heads.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, max_body_bytes: int, max_upload_bytes: int
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes
        self._durations: dict[str, Any] = {}
        self._requests: dict[tuple[str, int], Tally] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id, declared = _read_headers(scope)
        limit = self._limit(scope)
        status = 500
        read = 0

        async def limited_receive() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > limit:
                    raise _too_large(limit)
            return message

        async def timed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = (time.perf_counter() - started) * 1e3
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    (b"x-total-time", b"%.3f" % total),
                ]
            await send(message)

        try:
            if declared is not None and declared > limit:
                # The rest of the body is not read: the connection cannot be used again.
                response = error_response(_too_large(limit))
                response.headers["connection"] = "close"
                await response(scope, receive, timed_send)
            else:
                await self._app(scope, limited_receive, timed_send)
        finally:
            self._record(scope, status, time.perf_counter() - started, request_id)

    def _limit(self, scope: Scope) -> int:
        path: str = scope["path"]
        of_versions = ("/versions", "/versions/import", "/evaluate")
        is_upload = path.startswith("/v1/tasks/") and path.endswith(of_versions)
        is_internal = path.startswith("/internal/")
        return self._max_upload_bytes if is_upload or is_internal else self._max_body_bytes

    def _record(self, scope: Scope, status: int, seconds: float, request_id: bytes) -> None:
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
        if status >= 400:
            self._metrics.errors.labels(str(status)).inc()
        level = logging.INFO if status >= 400 else logging.DEBUG
        if logger.isEnabledFor(level):
            logger.log(level, "%s %d %.1f ms %s", route, status, seconds * 1e3, request_id.decode())


def _read_headers(scope: Scope) -> tuple[bytes, int | None]:
    request_id, declared = b"", None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            request_id = value
        elif name == b"content-length" and value.isdigit():
            declared = int(value)
    return request_id or os.urandom(12).hex().encode(), declared


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is over {limit} bytes", code="body_too_large")
