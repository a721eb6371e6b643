"""/v1/tasks/{task}/versions/...: what can be done with a version once it is trained."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.deps import Services, documented, json_body, read_body
from app.routes.paths import MANAGE, PREDICT, TaskName, VersionNumber
from app.schemas import (
    CompareRequest,
    Comparison,
    LearningCurve,
    SettingsRequest,
    Version,
    VersionDeleted,
    VersionSettings,
)
from app.tasks.compare import Compared, compare_versions
from app.tasks.describe import describe_version
from app.tasks.head_file import read_head_file, write_head_file
from app.tasks.registry import Registry
from app.tasks.settings import changed_settings, measured

router = APIRouter(prefix="/v1", tags=["tasks"])
RAW = "application/octet-stream"


@router.get("/tasks/{task}/versions/{version}", dependencies=[PREDICT])
async def get_version(task: TaskName, version: VersionNumber, services: Services) -> Version:
    """One head version with its report."""
    await asyncio.to_thread(services.registry.refresh)
    return describe_version(services.registry.snapshot.get(task), version)


@router.post("/tasks/{task}/versions/{version}/activate", dependencies=[MANAGE])
async def activate(task: TaskName, version: VersionNumber, services: Services) -> Version:
    """Promote a version, or roll back to it."""
    await asyncio.to_thread(services.registry.activate, task, version)
    return describe_version(services.registry.snapshot.get(task), version)


@router.delete("/tasks/{task}/versions/{version}", dependencies=[MANAGE])
async def delete_version(
    task: TaskName, version: VersionNumber, services: Services
) -> VersionDeleted:
    """Delete a version that is not active. Its number is not given again."""
    await asyncio.to_thread(services.registry.delete_version, task, version)
    return VersionDeleted(task=task, version=version)


@router.patch(
    "/tasks/{task}/versions/{version}",
    dependencies=[MANAGE],
    openapi_extra=documented(SettingsRequest, {"min_confidence": 0.7}),
)
async def configure(
    task: TaskName,
    version: VersionNumber,
    body: Annotated[SettingsRequest, Depends(json_body(SettingsRequest))],
    services: Services,
) -> Version:
    """Set from which confidence a version answers, or from which probability it gives a label."""
    await asyncio.to_thread(_configure, services.registry, task, version, body)
    return describe_version(services.registry.snapshot.get(task), version)


@router.post(
    "/tasks/{task}/versions/compare",
    dependencies=[PREDICT],
    openapi_extra=documented(CompareRequest, {"a": 1, "b": 2}),
)
async def compare(
    task: TaskName,
    body: Annotated[CompareRequest, Depends(json_body(CompareRequest))],
    services: Services,
) -> Comparison:
    """Two versions on the held-out rows that neither was trained on."""
    return await asyncio.to_thread(_compare, services.registry, task, body)


@router.get("/tasks/{task}/versions/{version}/learning-curve", dependencies=[MANAGE])
async def learning_curve(
    task: TaskName, version: VersionNumber, services: Services
) -> LearningCurve:
    """How the score grew with the training rows. Fits a few heads: seconds, not milliseconds."""
    return await services.curves.of(task, version)


@router.get(
    "/tasks/{task}/versions/{version}/export",
    dependencies=[MANAGE],
    response_class=Response,
    responses={200: {"content": {RAW: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def export(
    task: TaskName,
    version: VersionNumber,
    services: Services,
    rows: Annotated[bool, Query(description="Also its stored codes and labels.")] = False,
) -> Response:
    """A version as one file (safetensors), to be imported elsewhere."""
    data = await asyncio.to_thread(_export, services.registry, task, version, rows)
    name = f'attachment; filename="{task}-{version}.safetensors"'
    return Response(data, media_type=RAW, headers={"content-disposition": name})


@router.post(
    "/tasks/{task}/versions/import",
    dependencies=[MANAGE],
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {RAW: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_version(
    task: TaskName,
    request: Request,
    services: Services,
    activate: Annotated[
        bool | None, Query(description="null: if the task has no active version yet.")
    ] = None,
) -> Version:
    """Add an exported file as the task's next version; the task is made if there is none."""
    data = await read_body(request)
    registry = services.registry
    version = await asyncio.to_thread(_import, registry, task, data, activate)
    return describe_version(registry.snapshot.get(task), version)


def _export(registry: Registry, task: str, version: int, with_rows: bool) -> bytes:
    manifest = registry.version(task, version)
    settings = registry.snapshot.get(task).settings_of(version)
    rows = registry.rows(task, version) if with_rows else None
    reference = registry.reference(task, version)
    return write_head_file(manifest, registry.head(task, version), settings, rows, reference)


def _import(registry: Registry, task: str, data: bytes, activate: bool | None) -> int:
    file = read_head_file(data)
    manifest = file.manifest
    settings = changed_settings(manifest, VersionSettings(), file.settings)
    labels = [] if manifest.kind == "regression" else list(manifest.labels)
    registry.create(task, manifest.kind, labels, None)
    extra = manifest.extra | {"imported_at": time.time()}
    version = registry.add_version(
        task, replace(manifest, extra=extra), file.head, file.rows, file.reference
    )
    if settings != VersionSettings():
        settings = measured(manifest, file.head, file.rows, settings)
        registry.configure(task, version, settings)
    if activate or (activate is None and registry.snapshot.get(task).active is None):
        registry.activate(task, version)
    return version


def _configure(registry: Registry, task: str, version: int, body: SettingsRequest) -> None:
    manifest = registry.version(task, version)
    known = registry.snapshot.get(task).settings_of(version)
    settings = changed_settings(manifest, known, body)
    head, rows = registry.head(task, version), registry.rows(task, version)
    registry.configure(task, version, measured(manifest, head, rows, settings))


def _compare(registry: Registry, task: str, body: CompareRequest) -> Comparison:
    def load(version: int) -> Compared:
        manifest = registry.version(task, version)
        settings = registry.snapshot.get(task).settings_of(version)
        return Compared(
            version,
            manifest,
            settings,
            registry.head(task, version),
            registry.rows(task, version),
        )

    return compare_versions(task, load(body.a), load(body.b))
