"""`polyhead configure` and `polyhead delete`."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from .._client import Client
from .._task_types import TaskVersion
from .._version_requests import KEEP, Keep
from ._connect import Number, TaskName, chosen_version, connect
from ._output import Format, Printer, Style, figure, note


def configure(
    context: typer.Context,
    task: TaskName,
    version: Number = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Give no label under it.", show_default=False),
    ] = None,
    always_answer: Annotated[
        bool, typer.Option("--always-answer", help="Give a label at any confidence.")
    ] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=P",
            help="Of several labels: give this one above P. Once for each label to be set.",
            show_default=False,
        ),
    ] = None,
    trained_thresholds: Annotated[
        bool, typer.Option("--trained-thresholds", help="As they were trained, for all labels.")
    ] = False,
    style: Format = Style.AUTO,
) -> None:
    """Set how a version answers, the active one if none is named. Without options: show it."""
    if always_answer and min_confidence is not None:
        raise ValueError("--always-answer and --min-confidence contradict each other")
    if trained_thresholds and threshold:
        raise ValueError("--trained-thresholds and --threshold contradict each other")
    confidence: float | Keep | None = KEEP if min_confidence is None else min_confidence
    thresholds: dict[str, float] | Keep | None = dict(map(_pair, threshold)) if threshold else KEEP
    confidence = None if always_answer else confidence
    thresholds = None if trained_thresholds else thresholds
    with connect(context) as client:
        number = chosen_version(client, task, version)
        if confidence is KEEP and thresholds is KEEP:
            found = client.tasks.version(task, number)
        else:
            found = client.tasks.configure(
                task, number, min_confidence=confidence, thresholds=thresholds
            )
    _show(Printer(style), found)


def _pair(value: str) -> tuple[str, float]:
    label, _, number = value.rpartition("=")
    with suppress(ValueError):
        if label:
            return label, float(number)
    raise typer.BadParameter(f"{value!r} is not of the form label=0.3")


def _show(printer: Printer, found: TaskVersion) -> None:
    settings = found.settings
    record = {"task": found.task, "version": found.version, "settings": settings}
    pairs: list[tuple[str, object]] = [("version", f"{found.version} of {found.task}")]
    if found.kind == "single_label":
        told = "always answers" if settings.min_confidence is None else settings.min_confidence
        pairs.append(("least confidence", told))
    trained = (found.report.thresholds if found.report else None) or {}
    by_hand = settings.thresholds or {}
    for label in found.labels if found.kind == "multi_label" else ():
        source = "by hand" if label in by_hand else "trained"
        value = figure(by_hand.get(label, trained.get(label)))
        pairs.append((f"threshold of {label}", f"{value} ({source})"))
    if settings.coverage is not None:
        pairs.append(("held-out texts answered", figure(settings.coverage)))
        pairs.append(("of those right", figure(settings.accuracy)))
    printer.facts(record, pairs)


def delete(
    context: typer.Context,
    task: TaskName,
    version: Number = None,
    whole: Annotated[
        bool, typer.Option("--all", help="The task with all its versions, not one version.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    style: Format = Style.AUTO,
) -> int:
    """Delete a version that is not active, or with --all a task, for good."""
    if whole == (version is not None):
        raise ValueError("name a version, or --all for the task with all its versions")
    with connect(context) as client:
        what = _named(client, task, version)
        if not yes and not _confirmed(what):
            note("nothing was deleted")
            return 1
        if version is None:
            client.tasks.delete(task)
        else:
            client.tasks.delete_version(task, version)
    Printer(style).facts({"task": task, "version": version}, [("deleted", what)])
    return 0


def _named(client: Client, task: str, version: int | None) -> str:
    if version is not None:
        return f"version {version} of {task}"
    found = client.tasks.get(task).versions
    return f"{task} with {len(found)} version{'s' * (len(found) != 1)}"


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError(f"nobody can be asked here: --yes deletes {what}")
    return typer.confirm(f"Delete {what} for good?", err=True)
