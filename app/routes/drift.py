"""/v1/drift: whether live texts are like those that the heads were trained on."""

from __future__ import annotations

from fastapi import APIRouter

from app.deps import Services
from app.routes.paths import PREDICT, TaskName
from app.schemas import DriftList, TaskDrift

router = APIRouter(prefix="/v1", tags=["tasks"], dependencies=[PREDICT])


@router.get("/drift")
async def all_drift(services: Services) -> DriftList:
    """The drift of every task, as this process saw it."""
    states = services.registry.snapshot.tasks.values()
    return DriftList(data=await services.drift.reports(states))


@router.get("/tasks/{task}/drift")
async def drift(task: TaskName, services: Services) -> TaskDrift:
    """How far the texts that are asked of a task are from its training rows."""
    return await services.drift.report(services.registry.snapshot.get(task))
