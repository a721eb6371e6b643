"""`polyhead report`, `learning-curve`, `evaluate` and `jobs`: what versions are worth, and jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from .._report_types import LearningPoint, Report
from .._task_types import Job
from ._connect import Number, TaskName, TaskOption, chosen_version, connect
from ._labelled import LabelColumn, TextColumn, labelled
from ._output import Format, Printer, Style, figure


def report(
    context: typer.Context, task: TaskName, version: Number = None, style: Format = Style.AUTO
) -> None:
    """The report of a version; of the active one if none is named."""
    with connect(context) as client:
        found = client.tasks.version(task, chosen_version(client, task, version))
    lines: list[tuple[str, object]] = [("version", of_task(found.version, task, found.active))]
    lines += report_lines(found.report) if found.report else [("report", "it came without one")]
    Printer(style).facts(found, lines)


def learning_curve(
    context: typer.Context, task: TaskName, version: Number = None, style: Format = Style.AUTO
) -> None:
    """How the score grew with the training rows; of the active version if none is named.

    Heads on parts of its rows, and last the version itself, all tested on the rows it held out.
    """
    with connect(context) as client:
        found = client.tasks.learning_curve(task, chosen_version(client, task, version))
    one = {"task": found.task, "version": found.version, "n_test": found.n_test}
    records = (
        one | {name: getattr(point, name) for name in point.__slots__} for point in found.data
    )
    score = "accuracy" if found.data and found.data[-1].mae is None else "mean absolute error"
    rows = ([point.rows, _score(point), found.n_test] for point in found.data)
    Printer(style).show(records, ["rows", score, "tested on"], rows)


def _score(point: LearningPoint) -> str:
    if point.mae is not None:
        return figure(point.mae)
    ends = " to ".join(figure(end) for end in point.interval or ())
    return f"{figure(point.accuracy)} ({ends})" if ends else figure(point.accuracy)


def evaluate(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="Labelled texts: .csv, .jsonl, or - for JSON lines on stdin.")
    ],
    task: TaskOption,
    version: Annotated[
        int | None, typer.Option(min=1, help="Of the task; else the active one.")
    ] = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    wait: Annotated[bool, typer.Option(help="Wait for the report.")] = True,
    style: Format = Style.AUTO,
) -> None:
    """Test a version on texts that were labelled since. Nothing is stored but the report."""
    with connect(context) as client, labelled(file) as rows:
        number = chosen_version(client, task, version)
        job = client.tasks.evaluate(
            task,
            number,
            rows,
            text_column=text_column,
            label_column=label_column,
            wait=wait,
        )
    lines: list[tuple[str, object]] = [("version", of_task(number, task))]
    lines += report_lines(job.report) if job.report else [waiting(job)]
    Printer(style).facts({"version": number, "job": job}, lines)


def jobs(
    context: typer.Context,
    job: Annotated[
        str | None, typer.Argument(help="Its id; none: all of them.", show_default=False)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends.")] = False,
    style: Format = Style.AUTO,
) -> int:
    """Trainings and evaluations under way and done; 1 if the one that is named failed."""
    if wait and job is None:
        raise ValueError("--wait needs the id of a job")
    with connect(context) as client:
        if job is not None:
            found = [client.jobs.wait(job) if wait else client.jobs.get(job)]
        else:
            found = client.jobs.list()
    heads = ["id", "kind", "task", "status", "version", "accuracy", "started", "error"]
    Printer(style).show(found, heads, (_row(one) for one in found))
    return 1 if job is not None and found[0].status == "failed" else 0


def _row(job: Job) -> list[object]:
    status = job.status if job.finished else f"{job.stage} {job.progress:.0%}"
    return [
        job.id,
        job.kind,
        job.task,
        status,
        "-" if job.version is None else job.version,
        figure(job.report.accuracy if job.report else None),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created_at)),
        job.error.message if job.error else "",
    ]


def of_task(version: int, task: str, active: bool = False) -> str:
    """How a version is called."""
    return f"{version} of {task}{' (active)' if active else ''}"


def waiting(job: Job) -> tuple[str, object]:
    """A job that is not waited for."""
    return "job", f"{job.id} ({job.status}): `polyhead jobs {job.id} --wait`"


def report_lines(report: Report) -> Iterator[tuple[str, object]]:
    """A report's figures and warnings by name."""
    yield from _figures(report)
    for warning in report.warnings:
        yield "warning", warning


def _figures(report: Report) -> Iterator[tuple[str, object]]:
    yield "head", report.head
    source = report.test_source.replace("_", " ")
    yield "rows", f"{report.n_train} trained on, {report.n_test} tested on ({source})"
    if report.mae is not None:
        yield "mean absolute error", figure(report.mae)
        yield "R²", figure(report.r2)
    if report.accuracy is not None:
        ends = report.accuracy_interval or ()
        interval = f" ({' to '.join(figure(end) for end in ends)})" if ends else ""
        yield "accuracy", f"{figure(report.accuracy)}{interval}"
        yield "always the most frequent", figure(report.majority_accuracy)
        yield "macro F1", figure(report.macro_f1)
    if report.calibration is not None:
        errors = report.calibration
        told = f"{figure(errors.ece_before)}, calibrated {figure(errors.ece_after)}"
        yield "calibration error", told
