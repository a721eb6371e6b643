"""/v1/tasks: tasks, their versions, training."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from app.deps import Services, documented, json_body, read_json, requires
from app.errors import InvalidField
from app.schemas import (
    TASK_NAME,
    CompareRequest,
    Comparison,
    Job,
    SettingsRequest,
    Task,
    TaskDeleted,
    TaskList,
    TaskRequest,
    TrainOptions,
    TrainRequest,
    Version,
)
from app.tasks import examples as reading
from app.tasks.compare import Compared, compare_versions
from app.tasks.describe import describe_task, describe_version
from app.tasks.registry import Registry, TaskState
from app.tasks.settings import changed_settings, measured
from app.tasks.trainer import TrainingOrder

router = APIRouter(prefix="/v1", tags=["tasks"])
PREDICT, MANAGE = requires("predict"), requires("manage")
Name = Annotated[str, Path(pattern=TASK_NAME)]
COLUMNS = ("text_column", "label_column")
Number = Annotated[int, Path(ge=1, le=999_999)]
EXAMPLE: dict[str, Any] = {
    "examples": [
        {"text": "Where is my card?", "label": "card_arrival"},
        {"text": "I forgot my PIN", "label": "pin"},
    ],
    "head": "auto",
}
TRAIN_BODY = documented(TrainRequest, EXAMPLE)
TRAIN_BODY["requestBody"]["content"]["multipart/form-data"] = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "CSV or JSONL."},
            "test_file": {"type": "string", "format": "binary"},
            "text_column": {"type": "string", "default": "text"},
            "label_column": {"type": "string", "default": "label"},
            **TrainOptions.model_json_schema()["properties"],
        },
    }
}


@router.get("/tasks", dependencies=[PREDICT])
async def list_tasks(services: Services) -> TaskList:
    """All tasks with their versions."""
    return TaskList(data=[describe_task(t) for t in services.registry.snapshot.tasks.values()])


@router.get("/tasks/{task}", dependencies=[PREDICT])
async def get_task(task: Name, services: Services) -> Task:
    """One task with its versions."""
    return describe_task(services.registry.snapshot.get(task))


@router.put(
    "/tasks/{task}",
    dependencies=[MANAGE],
    response_model=Task,
    responses={201: {"model": Task}},
    openapi_extra=documented(TaskRequest, {"kind": "single_label", "description": "Which team?"}),
)
async def put_task(
    task: Name,
    body: Annotated[TaskRequest, Depends(json_body(TaskRequest))],
    services: Services,
) -> Response:
    """Make a task (201), or confirm that it is there as described (200)."""
    registry = services.registry
    created = await asyncio.to_thread(
        registry.create, task, body.kind, body.labels, body.description
    )
    state = describe_task(registry.snapshot.get(task))
    return Response(
        state.model_dump_json(),
        status_code=201 if created else 200,
        media_type="application/json",
    )


@router.delete("/tasks/{task}", dependencies=[MANAGE])
async def delete_task(task: Name, services: Services) -> TaskDeleted:
    """Delete a task with all its versions."""
    await asyncio.to_thread(services.registry.delete, task)
    return TaskDeleted(name=task)


@router.post(
    "/tasks/{task}/versions",
    dependencies=[MANAGE],
    status_code=202,
    openapi_extra=TRAIN_BODY,
)
async def train(task: Name, request: Request, services: Services) -> Job:
    """Train a head from labelled texts: JSON, or multipart with a CSV or JSONL `file`."""
    await asyncio.to_thread(services.registry.refresh)
    state = services.registry.snapshot.get(task)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        order = await _order_from_upload(state, request)
    else:
        body = await read_json(request, TrainRequest)
        order = await asyncio.to_thread(_order_from_json, state, body)
    return await services.trainer.submit(order)


@router.get("/tasks/{task}/versions/{version}", dependencies=[PREDICT])
async def get_version(task: Name, version: Number, services: Services) -> Version:
    """One head version with its report."""
    await asyncio.to_thread(services.registry.refresh)
    return describe_version(services.registry.snapshot.get(task), version)


@router.post("/tasks/{task}/versions/{version}/activate", dependencies=[MANAGE])
async def activate(task: Name, version: Number, services: Services) -> Version:
    """Promote a version, or roll back to it."""
    await asyncio.to_thread(services.registry.activate, task, version)
    return describe_version(services.registry.snapshot.get(task), version)


@router.patch(
    "/tasks/{task}/versions/{version}",
    dependencies=[MANAGE],
    openapi_extra=documented(SettingsRequest, {"min_confidence": 0.7}),
)
async def configure(
    task: Name,
    version: Number,
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
    task: Name,
    body: Annotated[CompareRequest, Depends(json_body(CompareRequest))],
    services: Services,
) -> Comparison:
    """Two versions on the held-out rows that neither was trained on."""
    return await asyncio.to_thread(_compare, services.registry, task, body)


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


def _order_from_json(state: TaskState, body: TrainRequest) -> TrainingOrder:
    train = reading.NONE
    if body.examples is not None:
        train = reading.from_json(body.examples, state.kind)
    test = None
    if body.test_examples is not None:
        test = reading.from_json(body.test_examples, state.kind, "test_examples")
    options = TrainOptions(**body.model_dump(include=set(TrainOptions.model_fields)))
    return _order(state, train, test, options)


async def _order_from_upload(state: TaskState, request: Request) -> TrainingOrder:
    async with request.form(max_files=2, max_fields=16) as form:
        return await _order_from_form(state, dict(form))


async def _order_from_form(state: TaskState, form: dict[str, Any]) -> TrainingOrder:
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    columns = {name: fields.pop(name, name.removesuffix("_column")) for name in COLUMNS}
    options = TrainOptions.model_validate(fields)

    async def read(name: str) -> reading.Examples | None:
        part = form.get(name)
        if not isinstance(part, UploadFile):
            return None
        data = await part.read()
        return await asyncio.to_thread(
            lambda: reading.from_upload(data, part.filename or "", state.kind, name=name, **columns)
        )

    train = await read("file")
    if train is None and options.base is None:
        raise InvalidField("file: a CSV or JSONL file is needed", param="file")
    return _order(state, train or reading.NONE, await read("test_file"), options)


def _order(
    state: TaskState,
    train: reading.Examples,
    test: reading.Examples | None,
    options: TrainOptions,
) -> TrainingOrder:
    if not len(train) and options.base is None:
        raise InvalidField("examples: needed where there is no base", param="examples")
    labels = reading.label_names(train, state.kind, state.labels)
    if test is not None:
        reading.label_names(test, state.kind, labels)
    return TrainingOrder(state.name, state.kind, labels, train, test, options)
