"""`polyhead train` and `polyhead retrain`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .._retrain import retrain as retrain_all
from .._task_types import Job
from ._connect import TaskOption, Tasks, connect, names_of
from ._labelled import LabelColumn, TextColumn, labelled
from ._output import Format, Printer, Style, note
from ._report import of_task, report_lines, waiting


class HeadChoice(StrEnum):
    """What to train over the codes."""

    AUTO = "auto"
    LINEAR = "linear"
    MLP = "mlp"
    PROTOTYPE = "prototype"


class KindChoice(StrEnum):
    """What a new task answers with."""

    SINGLE_LABEL = "single_label"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"


def train(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="Labelled texts: .csv, .jsonl, or - for JSON lines on stdin.")
    ],
    task: TaskOption,
    head: Annotated[HeadChoice, typer.Option(help="The small predictor.")] = HeadChoice.AUTO,
    test: Annotated[
        Path | None, typer.Option(help="Evaluate on this file; else on held-out rows.")
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of the rows to hold out.", show_default=False)
    ] = None,
    base: Annotated[
        int | None, typer.Option(min=1, help="Train on this version's stored rows too.")
    ] = None,
    balanced: Annotated[bool, typer.Option(help="Weigh rare labels up.")] = False,
    label_names: Annotated[
        bool, typer.Option(help="With few rows, read the labels' names as examples too.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the training.")] = 0,
    activate: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote", help="Let it answer; else only if no version does yet."
        ),
    ] = None,
    kind: Annotated[
        KindChoice | None, typer.Option(help="Of a new task; else as the file's labels tell.")
    ] = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    wait: Annotated[bool, typer.Option(help="Wait for the report.")] = True,
    style: Format = Style.AUTO,
) -> None:
    """Train a task's next version from labelled texts; the task is made if there is none."""
    with connect(context) as client, labelled(file) as rows:
        job = client.tasks.train(
            task,
            rows,
            test_examples=test,
            head=head.value,
            test_fraction=test_fraction,
            base=base,
            class_weight="balanced" if balanced else None,
            label_names=label_names,
            seed=seed,
            activate=activate,
            kind=None if kind is None else kind.value,
            text_column=text_column,
            label_column=label_column,
            wait=wait,
        )
        active = client.tasks.get(task).active_version
    Printer(style).facts({"job": job, "active_version": active}, _report(job, active))
    if job.version is not None and active != job.version:
        note(f"version {active} answers still: `polyhead promote {task} {job.version}`")


def _report(job: Job, active: int | None) -> Iterator[tuple[str, object]]:
    if job.version is None or job.report is None:
        yield waiting(job)
        return
    yield "version", of_task(job.version, job.task, active == job.version)
    yield from report_lines(job.report)


def retrain(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Holds TASK.csv or TASK.jsonl for each task.")],
    tasks: Tasks = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Say what would be done, and do nothing.")
    ] = False,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
) -> int:
    """Train the heads that a new encoder left without an answer, from texts that were kept.

    Texts are stored nowhere, and codes of one encoder are nothing to another.
    """
    with connect(context) as client:
        left = retrain_all(
            client,
            folder,
            tasks=names_of(tasks),
            list_only=list_only,
            text_column=text_column,
            label_column=label_column,
        )
    return 1 if left else 0
