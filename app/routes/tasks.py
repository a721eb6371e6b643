"""/v1/tasks: tasks, training them, and testing what was trained."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from app.deps import Services, documented, json_body, read_json
from app.errors import InvalidField
from app.routes.paths import MANAGE, PREDICT, TaskName, VersionNumber
from app.schemas import (
    EvaluateRequest,
    Job,
    Task,
    TaskDeleted,
    TaskList,
    TaskRequest,
    TrainOptions,
    TrainRequest,
)
from app.tasks import examples as reading
from app.tasks.describe import describe_task
from app.tasks.settings import thresholds_of
from app.tasks.state import TaskState
from app.tasks.trainer import EvaluationOrder, TrainingOrder
from models.head_runtime import TaskKind

router = APIRouter(prefix="/v1", tags=["tasks"])
COLUMNS = ("text_column", "label_column")
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

EVALUATE_BODY = documented(EvaluateRequest, {"examples": EXAMPLE["examples"]})
EVALUATE_BODY["requestBody"]["content"]["multipart/form-data"] = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "CSV or JSONL."},
            "text_column": {"type": "string", "default": "text"},
            "label_column": {"type": "string", "default": "label"},
        },
    }
}


@router.get("/tasks", dependencies=[PREDICT])
async def list_tasks(services: Services) -> TaskList:
    """All tasks with their versions."""
    return TaskList(data=[describe_task(t) for t in services.registry.snapshot.tasks.values()])


@router.get("/tasks/{task}", dependencies=[PREDICT])
async def get_task(task: TaskName, services: Services) -> Task:
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
    task: TaskName,
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
async def delete_task(task: TaskName, services: Services) -> TaskDeleted:
    """Delete a task with all its versions."""
    await asyncio.to_thread(services.registry.delete, task)
    return TaskDeleted(name=task)


@router.post(
    "/tasks/{task}/versions",
    dependencies=[MANAGE],
    status_code=202,
    openapi_extra=TRAIN_BODY,
)
async def train(task: TaskName, request: Request, services: Services) -> Job:
    """Train a head from labelled texts: JSON, or multipart with a CSV or JSONL `file`."""
    await asyncio.to_thread(services.registry.refresh)
    state = services.registry.snapshot.get(task)
    if _is_upload(request):
        order = await _order_from_upload(state, request)
    else:
        body = await read_json(request, TrainRequest)
        order = await asyncio.to_thread(_order_from_json, state, body)
    return await services.trainer.submit(order)


@router.post(
    "/tasks/{task}/versions/{version}/evaluate",
    dependencies=[MANAGE],
    status_code=202,
    openapi_extra=EVALUATE_BODY,
)
async def evaluate(
    task: TaskName, version: VersionNumber, request: Request, services: Services
) -> Job:
    """Test a version on labelled texts; the job ends with a report. Nothing is stored."""
    manifest = await asyncio.to_thread(services.registry.version, task, version)
    settings = services.registry.snapshot.get(task).settings_of(version)
    kind = manifest.kind
    if _is_upload(request):
        examples = await _examples_from_upload(kind, request)
    else:
        body = await read_json(request, EvaluateRequest)
        examples = await asyncio.to_thread(reading.from_json, body.examples, kind)
    reading.label_names(examples, kind, manifest.labels)
    order = EvaluationOrder(task, version, manifest, thresholds_of(manifest, settings), examples)
    return await services.trainer.submit_evaluation(order)


def _is_upload(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


async def _examples_from_upload(kind: TaskKind, request: Request) -> reading.Examples:
    async with request.form(max_files=1, max_fields=4) as form:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        columns = {name: fields.pop(name, name.removesuffix("_column")) for name in COLUMNS}
        if fields:
            raise InvalidField(f"{next(iter(fields))[:80]}: no such field")
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidField("file: a CSV or JSONL file is needed", param="file")
        data, name = await part.read(), part.filename or ""
    return await asyncio.to_thread(
        lambda: reading.from_upload(data, name, kind, name="file", **columns)
    )


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
