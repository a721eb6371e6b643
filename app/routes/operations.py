"""Alive, ready, who am I, what was done: for probes, people and Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app import __version__
from app.deps import ApiServices, EncoderParts, Services
from app.errors import EncoderUnavailable
from app.routes.paths import PREDICT
from app.schemas import Model, ModelList
from app.stats import process_stats

open_router = APIRouter(tags=["operations"])
router = APIRouter(tags=["operations"], dependencies=[PREDICT])
api_router = APIRouter(tags=["operations"], dependencies=[PREDICT])


@open_router.get("/health")
async def health() -> dict[str, str]:
    """Alive. Needs no key and touches nothing."""
    return {"status": "ok"}


@open_router.get("/ready", responses={503: {}})
async def ready(request: Request, services: EncoderParts) -> JSONResponse:
    """Whether to send requests here: 503 while the encoder's identity is not known.

    And from SIGTERM on, with `draining`, for `POLYHEAD_DRAIN_S`. A missing cache or an encoder
    that is down is told, but does not make the process unready: it still answers what it can.
    """
    if request.app.draining:
        return JSONResponse({"ready": False, "draining": True}, status_code=503)
    try:
        info = await services.encoder.info()
    except EncoderUnavailable:
        return JSONResponse({"ready": False, "encoder": "unavailable"}, status_code=503)
    parts = {
        "encoder": "up" if await services.encoder.is_up() else "down",
        "cache": "up" if await services.cache.ping() else "down",
        "fingerprint": info.fingerprint,
    }
    return JSONResponse({"ready": True, **parts})


@router.get("/info")
async def info(services: EncoderParts) -> dict[str, Any]:
    """The encoder, its device and numeric profile, and this process's limits."""
    encoder = await services.encoder.info()
    settings = services.settings
    return {
        "version": __version__,
        "role": settings.role,
        "encoder": {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "bits": encoder.bits,
            "max_tokens": encoder.max_tokens,
            "device": encoder.device,
            "profile": encoder.profile,
        },
        "limits": {
            "max_inputs": settings.max_inputs,
            "max_body_bytes": settings.max_body_bytes,
            "max_upload_bytes": settings.max_upload_bytes,
            "max_text_bytes": settings.max_text_kb * 1024,
            "max_queued_texts": settings.max_queued_texts,
            "max_queue_ms": settings.max_queue_ms,
            "max_request_ms": round(settings.max_request_s * 1e3),
            "rate_limit": settings.rate_limit or None,
        },
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: EncoderParts) -> Response:
    """Prometheus metrics."""
    if isinstance(services, ApiServices):
        await services.drift.publish()
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@api_router.get("/v1/models")
async def models(services: Services) -> ModelList:
    """The running encoder, as OpenAI's clients list models."""
    encoder = await services.encoder.info()
    model = Model(
        id=encoder.name,
        created=0,
        fingerprint=encoder.fingerprint,
        bits=encoder.bits,
        max_tokens=encoder.max_tokens,
        profile=encoder.profile,
    )
    return ModelList(data=[model])


@api_router.get("/v1/stats")
async def stats(services: Services) -> dict[str, Any]:
    """What this process has done since it started."""
    figures = process_stats(
        services.metrics, cache_up=services.cache.is_up, tasks=len(services.registry.snapshot.tasks)
    )
    drift = await services.drift.publish()
    return figures | {"drift": {name: round(found.score, 4) for name, found in drift.items()}}
