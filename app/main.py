"""The three apps: `api`, `encoder`, and both in one process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.formparsers import MultiPartParser
from starlette.types import Message, Receive, Scope, Send

from app import __version__, wiring
from app.cache.embedded import DataDirInUse
from app.deps import DEFINITIONS
from app.errors import install_error_handlers
from app.gate import Gate
from app.main_path import Handler, MainPath
from app.metrics import Metrics
from app.middleware import Bounds, Envelope
from app.routes import (
    backfill,
    cohere,
    drift,
    embeddings,
    encode,
    internal,
    jobs,
    operations,
    predict,
    retraining,
    shadow,
    similar,
    tasks,
    versions,
)
from app.routes.console import add_console
from app.routes.docs import add_docs, lead_to_docs
from app.schemas import ErrorResponse
from app.settings import Settings
from app.tracing import Tracing
from models.artifact import ArtifactError

ServicesFactory = Callable[[Settings, Metrics], AbstractAsyncContextManager[Any]]

API_ROUTERS = (
    predict.router,
    encode.router,
    embeddings.router,
    cohere.router,
    tasks.router,
    versions.router,
    shadow.router,
    drift.router,
    backfill.router,
    similar.router,
    retraining.router,
    jobs.router,
    operations.open_router,
    operations.router,
    operations.api_router,
)
ENCODER_ROUTERS = (internal.router, operations.open_router, operations.router)
API_MAIN_PATH: dict[str, Handler] = {
    "/v1/predict": predict.predict,
    "/v1/encode": encode.encode,
    "/v1/embeddings": embeddings.embeddings,
    "/v2/embed": cohere.embed,
}
ENCODER_MAIN_PATH: dict[str, Handler] = {"/internal/encode": internal.encode}
ERRORS = {
    400: "Unreadable or empty input.",
    401: "No or wrong API key.",
    403: "The API key lacks the scope.",
    404: "Unknown task, version, job or key.",
    408: "The body did not come in time.",
    409: "Conflict with what is there.",
    413: "Body or text too large.",
    422: "A field that cannot be used.",
    429: "Overloaded, or this client asks for too much: nothing was queued.",
    431: "Headers too large, or too many.",
    503: "The encoder is unavailable, or nothing can be stored.",
    504: "Not done within x-request-timeout-ms.",
}


class Service(FastAPI):
    """FastAPI with our envelope and main path around its own stack, not inside it."""

    envelope: Envelope
    gate: Gate | None = None
    start_failure: str | None = None
    draining: bool = False  # about to stop: /ready says so

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] == "lifespan":
            send = self._plain_failure(send)
        await self.envelope(scope, receive, send)

    def _plain_failure(self, send: Send) -> Send:
        """Say why the service cannot start in one line where it is known, without a traceback."""

        async def plain(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and self.start_failure:
                message["message"] = f"cannot start: {self.start_failure}"
            await send(message)

        return plain

    def openapi(self) -> dict[str, Any]:
        """FastAPI's document, with the bearer keys in it."""
        if not self.openapi_schema:
            document = super().openapi()
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(DEFINITIONS)
            components.setdefault("securitySchemes", {})["key"] = {
                "type": "http",
                "scheme": "bearer",
                "description": "POLYHEAD_API_KEYS",
            }
            document["security"] = [{"key": []}, {}]
        return super().openapi()

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's own stack: everything that is not on the main path."""
        await super().__call__(scope, receive, send)


def create_api_app(settings: Settings) -> Service:
    """The api process: caching, heads, tasks. Its encoder is at `settings.encoder_url`."""
    return _create(settings, wiring.api_services, API_ROUTERS, API_MAIN_PATH)


def create_encoder_app(settings: Settings) -> Service:
    """The encoder process: the device and its batches."""
    return _create(settings, wiring.encoder_services, ENCODER_ROUTERS, ENCODER_MAIN_PATH)


def create_all_in_one_app(settings: Settings) -> Service:
    """Both in one process, with an embedded Valkey unless `REDIS_URL` is set."""
    return _create(settings, wiring.all_in_one_services, API_ROUTERS, API_MAIN_PATH)


def create_app(settings: Settings) -> Service:
    """The app that `settings.role` names."""
    creators = {
        "all": create_all_in_one_app,
        "api": create_api_app,
        "encoder": create_encoder_app,
    }
    return creators[settings.role](settings)


def _create(
    settings: Settings,
    services: ServicesFactory,
    routers: tuple[APIRouter, ...],
    main_path: dict[str, Handler],
) -> Service:
    metrics = Metrics()
    tracing = Tracing(__version__, settings.role) if settings.otel_endpoint else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(asyncio.to_thread, tracing.close)
            try:
                parts = await stack.enter_async_context(services(settings, metrics))
            except (ArtifactError, DataDirInUse) as error:
                app.start_failure = str(error)
                raise
            app.state.services = parts
            # What start-up made stays: the collector need not walk torch's objects ever again.
            gc.collect()
            gc.freeze()
            yield

    app = Service(
        title="Polyhead",
        version=__version__,
        summary="Encode a text once, answer many tasks from its cached binary code.",
        lifespan=lifespan,
        docs_url=None,  # our own, see add_docs
        redoc_url=None,
        responses={
            status: {"model": ErrorResponse, "description": text} for status, text in ERRORS.items()
        },
    )
    # Uploads stay in memory, bounded by max_upload_mb: texts are never written to disk.
    MultiPartParser.spool_max_size = settings.max_upload_bytes + 1
    add_docs(app)
    if routers is API_ROUTERS:
        add_console(app)
    else:
        lead_to_docs(app)
    for router in routers:
        app.include_router(router)
    install_error_handlers(app)
    if main_path is API_MAIN_PATH and settings.max_lag_ms:  # an encoder process has its queue
        app.gate = Gate(metrics, main_path, settings.max_lag_ms / 1e3)
    app.envelope = Envelope(
        MainPath(app.framework, main_path),
        metrics,
        Bounds(
            settings.max_body_bytes,
            settings.max_upload_bytes,
            settings.body_timeout_s,
            settings.max_request_s,
        ),
        main_path,
        tracing,
    )
    return app
