"""`polyhead tasks`, `versions`, `promote`, `rollback` and `backfill`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .._errors import NotFound
from .._task_types import Task, TaskVersion
from ._connect import Number, TaskName, Tasks, connect, names_of
from ._output import Format, Printer, Style, figure


def tasks(context: typer.Context, style: Format = Style.AUTO) -> None:
    """All the tasks, and which version of each answers."""
    with connect(context) as client:
        found = client.tasks.list()
    heads = ["task", "kind", "labels", "active", "versions", "accuracy", "description"]
    Printer(style).show(found, heads, (_row(task) for task in found))


def _row(task: Task) -> list[object]:
    accuracy = next((v.accuracy for v in task.versions if v.active), None)
    active = "-" if task.active_version is None else task.active_version
    labels = len(task.labels) if task.kind != "regression" else "-"
    head = [task.name, task.kind.replace("_", " "), labels, active, len(task.versions)]
    return [*head, figure(accuracy), task.description or ""]


def versions(context: typer.Context, task: TaskName, style: Format = Style.AUTO) -> None:
    """The versions of a task, oldest first."""
    with connect(context) as client:
        found = client.tasks.get(task)
    records = [
        {"task": task, **{name: getattr(one, name) for name in one.__slots__}}
        for one in found.versions
    ]
    rows = (
        [
            one.version,
            "active" if one.active else "shadow" if one.version == found.shadow_version else "",
            one.head,
            figure(one.accuracy),
            figure(one.macro_f1),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at)),
            one.encoder[:8],
        ]
        for one in found.versions
    )
    heads = ["version", "", "head", "accuracy", "macro F1", "made", "encoder"]
    Printer(style).show(records, heads, rows)


def promote(
    context: typer.Context, task: TaskName, version: Number = None, style: Format = Style.AUTO
) -> None:
    """Let a version answer from now on; the newest if none is named."""
    with connect(context) as client:
        found = client.tasks.get(task)
        if version is None:
            if not found.versions:
                raise ValueError(f"{task} has no version yet: `polyhead train` makes one")
            version = max(one.version for one in found.versions)
        _say(Printer(style), client.tasks.activate(task, version), found.active_version)


def rollback(
    context: typer.Context, task: TaskName, version: Number = None, style: Format = Style.AUTO
) -> None:
    """Let an earlier version answer again: the one before the active one if none is named."""
    with connect(context) as client:
        found = client.tasks.get(task)
        if version is None:
            active = found.active_version
            earlier = [v.version for v in found.versions if active and v.version < active]
            if not earlier:
                raise NotFound(404, f"{task} has no version before the active one")
            version = max(earlier)
        _say(Printer(style), client.tasks.activate(task, version), found.active_version)


def _say(printer: Printer, now: TaskVersion, before: int | None) -> None:
    record = {"task": now.task, "active_version": now.version, "before": before}
    sentence = f"version {now.version} answers"
    if before not in (None, now.version):
        sentence += f", no longer version {before}"
    printer.facts(record, [(now.task, sentence)])


def backfill(
    context: typer.Context,
    task: TaskName,
    out: Annotated[Path, typer.Argument(help="File for the answers: lines of JSON, or .parquet.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="Of the task; else the active one.")
    ] = None,
    tasks: Tasks = None,
    scores: Annotated[bool, typer.Option(help="Every label's probability too.")] = False,
    style: Format = Style.AUTO,
) -> None:
    """Let a head answer for all stored codes, without an encoder pass.

    --tasks names other tasks to answer in the same go.
    """
    with connect(context) as client:
        done = client.tasks.backfill(
            task, out, version=version, tasks=names_of(tasks), scores=scores
        )
    Printer(style).facts(
        {"task": task, "out": str(out), **{name: getattr(done, name) for name in done.__slots__}},
        [
            ("texts", "-" if done.texts is None else done.texts),
            ("encoder passes", done.encoded),
            ("written to", out),
        ],
    )
