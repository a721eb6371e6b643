"""`polyhead compare` and `polyhead shadow`: two versions beside each other."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from .._task_types import Comparison, Task
from .._version_types import Answer, Shadow
from ._connect import Number, TaskName, connect
from ._output import Format, Printer, Style, figure, note

SHOWN = 20
"""Rows that a table of differences has; JSON has them all."""

shadow = typer.Typer(
    no_args_is_help=True,
    help="Let a version answer live traffic beside the active one, unseen.",
)


def compare(
    context: typer.Context,
    task: TaskName,
    a: Number = None,
    b: Number = None,
    style: Format = Style.AUTO,
) -> None:
    """Compare two versions on the rows that neither was trained on.

    Without numbers: the active version and the newest other. With one: the active version and it.
    """
    with connect(context) as client:
        if b is None:
            a, b = _pair(client.tasks.get(task), a)
        assert a is not None
        found = client.tasks.compare(task, a, b)
    printer = Printer(style)
    printer.facts(found, _facts(found))
    if printer.table and found.changed:
        rows = (
            [f"{one.row} of {one.version}", *map(_answer, (one.truth, one.a, one.b))]
            for one in found.changed[:SHOWN]
        )
        printer.show([], ["row", "truth", f"version {a}", f"version {b}"], rows)
        if found.changed_count > SHOWN:
            note(f"{found.changed_count - SHOWN} more rows are answered differently")


def _pair(task: Task, wanted: int | None) -> tuple[int, int]:
    """The active version, and the one that is named or the newest other."""
    active = task.active_version
    others = [one.version for one in task.versions if one.version != active]
    if active is None:
        raise ValueError(f"no version of {task.name} is active: name two")
    if wanted is not None:
        return active, wanted
    if not others:
        raise ValueError(f"{task.name} has only version {active}: nothing to compare it with")
    return active, max(others)


def _facts(found: Comparison) -> Iterator[tuple[str, object]]:
    name = "accuracy" if found.a.mae is None else "mean absolute error"
    for one in (found.a, found.b):
        yield (
            f"version {one.version}",
            f"{name} {figure(one.accuracy if one.mae is None else one.mae)}",
        )
    gain = found.difference
    unclear = gain.low <= 0 <= gain.high
    told = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}, 95%)"
    yield "difference", told + (": these rows do not tell the two apart" if unclear else "")
    if found.mcnemar is not None:
        test = found.mcnemar
        only = f"only {found.a.version} right {test.only_a}, only {found.b.version} {test.only_b}"
        yield "McNemar's p", f"{figure(test.p_value)} ({only})"
        yield "answered differently", found.changed_count
    yield "rows", f"{found.rows}, held out by one and trained on by neither"


@shadow.command()
def start(
    context: typer.Context, task: TaskName, version: Number = None, style: Format = Style.AUTO
) -> None:
    """Start one: the newest version that is not active if none is named."""
    with connect(context) as client:
        if version is None:
            version = _pair(client.tasks.get(task), None)[1]
        _show(Printer(style), client.tasks.shadow(task, version))


@shadow.command()
def show(context: typer.Context, task: TaskName, style: Format = Style.AUTO) -> None:
    """How often it would have answered differently, and where."""
    with connect(context) as client:
        _show(Printer(style), client.tasks.shadow_report(task))


@shadow.command()
def stop(context: typer.Context, task: TaskName, style: Format = Style.AUTO) -> None:
    """End it, and show what was found. The version stays."""
    with connect(context) as client:
        found = client.tasks.shadow_report(task)
        client.tasks.end_shadow(task)
    _show(Printer(style), found)


def _show(printer: Printer, found: Shadow) -> None:
    printer.facts(found, _shadow_facts(found))
    if printer.table and found.pairs:
        rows = ([_answer(one.active), _answer(one.shadow), one.count] for one in found.pairs)
        printer.show([], ["active", "shadow", "texts"], rows)


def _shadow_facts(found: Shadow) -> Iterator[tuple[str, object]]:
    yield "shadow", f"version {found.version} of {found.task}"
    yield "beside", "-" if found.active_version is None else f"version {found.active_version}"
    dropped = f", {found.dropped} more were not" if found.dropped else ""
    yield "texts compared", f"{found.texts}{dropped}"
    if found.mean_absolute_difference is not None:
        told = f"{found.mean_difference:+.3g}, absolute {found.mean_absolute_difference:.3g}"
        yield "mean difference", told
    elif found.rate is not None:
        ends = " to ".join(figure(end) for end in found.interval or ())
        yield "answered differently", f"{found.disagreements}, {figure(found.rate)} ({ends}, 95%)"


def _answer(answer: Answer) -> str:
    if answer is None:
        return "not sure"
    return answer if isinstance(answer, str) else ", ".join(answer) or "none"
