"""GET /v1/retraining: what a new encoder leaves without an answer."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from app.deps import Services
from app.routes.paths import PREDICT
from app.schemas import Retraining
from app.tasks.retraining import outdated_heads

router = APIRouter(prefix="/v1", tags=["tasks"])


@router.get("/retraining", dependencies=[PREDICT])
async def retraining(services: Services) -> Retraining:
    """Tasks whose active head reads the codes of another encoder.

    They answer 409 until they are trained on their texts again, which are stored nowhere here.
    """
    info = await services.encoder.info()
    await asyncio.to_thread(services.registry.refresh)
    return Retraining(
        encoder=info.fingerprint, data=outdated_heads(services.registry.snapshot, info)
    )
