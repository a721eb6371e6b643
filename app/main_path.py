"""The main path's handlers, reached by one dictionary look-up.

FastAPI's routing, dependency solving and exit stacks cost as much a request as answering twenty
tasks from a cached code does (docs/experiments.md). So the few routes that carry the traffic are
called straight from here; FastAPI holds the same handlers for the OpenAPI document, and everything
else goes to it. Errors become the same answers as there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, error_answer, unexpected_error

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class MainPath:
    """Calls `handlers[path]` for POST requests, and `app` for everything else."""

    def __init__(self, app: ASGIApp, handlers: dict[str, Handler]) -> None:
        self._app = app
        self._handlers = handlers
        # What the envelope's metrics read of a route.
        self._routes = {path: SimpleNamespace(path=path) for path in handlers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = None
        if scope["type"] == "http" and scope["method"] == "POST":
            handler = self._handlers.get(scope["path"])
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._routes[scope["path"]]
        try:
            response = await handler(Request(scope, receive))
        except ApiError as error:
            response = error_answer(scope, error)
        except Exception as error:
            response = unexpected_error(scope["path"], error)
        await response(scope, receive, send)
