"""/v1/tasks/{task}/shadow: a version that answers beside the active one, unseen."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends

from app.deps import Services, documented, json_body
from app.errors import Conflict, NotFound
from app.routes.paths import MANAGE, TaskName
from app.schemas import Shadow, ShadowEnded, ShadowRequest

router = APIRouter(prefix="/v1", tags=["tasks"], dependencies=[MANAGE])


@router.put("/tasks/{task}/shadow", openapi_extra=documented(ShadowRequest, {"version": 2}))
async def start(
    task: TaskName,
    body: Annotated[ShadowRequest, Depends(json_body(ShadowRequest))],
    services: Services,
) -> Shadow:
    """Let a version answer live traffic too; what it answers is compared and shown to nobody."""
    info = await services.encoder.info()
    manifest = await asyncio.to_thread(services.registry.version, task, body.version)
    if info.fingerprint not in manifest.encoders:
        raise Conflict(
            f"version {body.version} is for encoder {next(iter(manifest.encoders), 'none')}, the "
            f"running encoder is {info.fingerprint}",
            param="version",
            code="head_not_usable",
        )
    if services.registry.snapshot.get(task).active == body.version:
        raise Conflict(
            f"version {body.version} is the active one: another can be its shadow",
            param="version",
            code="version_active",
        )
    services.shadows.forget(task)
    await asyncio.to_thread(services.registry.set_shadow, task, body.version)
    return services.shadows.report(services.registry.snapshot.get(task))


@router.get("/tasks/{task}/shadow")
async def report(task: TaskName, services: Services) -> Shadow:
    """How often the shadow would have answered differently, and where."""
    await asyncio.to_thread(services.registry.refresh)
    return services.shadows.report(services.registry.snapshot.get(task))


@router.delete("/tasks/{task}/shadow")
async def end(task: TaskName, services: Services) -> ShadowEnded:
    """No longer ask the shadow. The version stays."""
    await asyncio.to_thread(services.registry.refresh)
    if services.registry.snapshot.get(task).shadow is None:
        raise NotFound(f"task {task!r} has no shadow", param="task", code="no_shadow")
    await asyncio.to_thread(services.registry.set_shadow, task, None)
    services.shadows.forget(task)
    return ShadowEnded(task=task)
