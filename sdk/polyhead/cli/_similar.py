"""`polyhead similar` and `polyhead suspects`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._labelled_file import LabelledRow, read_labelled
from .._similar_types import Neighbour, Neighbours, Suspect
from ._ask import JsonField, Texts, answer_all
from ._connect import TaskOption, Tasks, connect, names_of
from ._labelled import LabelColumn, TextColumn
from ._output import Format, Printer, Style, note, short
from ._texts import batches

Version = Annotated[int | None, typer.Option(min=1, help="Of the task; else the active one.")]


def similar(
    context: typer.Context,
    texts: Texts = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Neighbours of each.")] = 5,
    max_distance: Annotated[
        int | None, typer.Option(min=0, help="Bits in which they may differ.", show_default=False)
    ] = None,
    tasks: Tasks = None,
    task: Annotated[
        str | None, typer.Option(help="Search the rows that this task was trained on.")
    ] = None,
    version: Version = None,
    fresh: Annotated[bool, typer.Option(help="Read the stored codes anew first.")] = False,
    json_field: JsonField = None,
    style: Format = Style.AUTO,
) -> int:
    """Find the stored codes nearest to texts, or the labelled rows of a version.

    --tasks says which tasks to ask about what is found; none if left out.
    """
    with connect(context) as client:
        return answer_all(
            lambda some: client.similar(
                some,
                limit=limit,
                max_distance=max_distance,
                tasks=names_of(tasks),
                task=task,
                version=version,
                max_age_s=0 if fresh else None,
            ),
            batches(texts, json_field),
            Printer(style),
            ["text", "neighbours"],
            lambda found: {"key": found.key, "neighbours": [_record(n) for n in found.neighbours]},
            lambda found: [_cell(found)],
        )


def _record(one: Neighbour) -> dict[str, object]:
    """Only what its kind of neighbour has."""
    values = {name: getattr(one, name) for name in one.__slots__}
    return {name: value for name, value in values.items() if value is not None}


def _cell(found: Neighbours) -> str:
    return "\n".join(_told(one) for one in found.neighbours) or "-"


def _told(one: Neighbour) -> str:
    where = one.key or f"row {one.row} of {one.part}, version {one.version}"
    said = one.label or ", ".join(one.labels or ())
    if one.value is not None:
        said = f"{one.value:.3g}"
    if one.predictions is not None:
        said = ", ".join(f"{name}: {short(answer)}" for name, answer in one.predictions.items())
    return f"{one.share:.1%}  {where}  {said}".rstrip()


def suspects(
    context: typer.Context,
    task: TaskOption,
    file: Annotated[
        Path | None,
        typer.Argument(help="What the version was trained on, for the texts.", show_default=False),
    ] = None,
    version: Version = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows, at most.")] = 20,
    neighbours: Annotated[int, typer.Option(min=0, max=10, help="Shown of each.")] = 3,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    style: Format = Style.AUTO,
) -> None:
    """Find rows that a version was trained on whose labels look wrong, the worst first.

    FILE gives texts to the rows of the version's own examples; those of a base, or given as tests,
    are told by number alone.
    """
    rows = [] if file is None else read_labelled(file, text_column, label_column)
    with connect(context) as client:
        if version is None:
            version = client.tasks.get(task).active_version
            if version is None:
                raise ValueError(f"{task} has no active version: --version names one")
        found = client.tasks.suspects(task, version, limit=limit, neighbours=neighbours)
    texts = [_text(one, version, rows, file) for one in found.data]
    elsewhere = sum(text is None for text in texts)
    if file is not None and elsewhere:
        note(f"{elsewhere} of {len(texts)} rows came with other files or versions")
    Printer(style).show(
        (
            {"text": text, **{name: getattr(one, name) for name in one.__slots__}}
            for one, text in zip(found.data, texts, strict=True)
        ),
        ["row", "label", "suggested", "suspicion", "agreeing", "text"],
        (
            [
                f"{'test ' if one.part != 'examples' else ''}{one.row}",
                one.label,
                one.suggested,
                f"{one.suspicion:.2f}",
                f"{one.agreeing} of 10",
                text or "",
            ]
            for one, text in zip(found.data, texts, strict=True)
        ),
    )


def _text(one: Suspect, version: int, rows: list[LabelledRow], file: Path | None) -> str | None:
    """The text of a suspect; None where the file does not hold it.

    Raises:
        ValueError: The file is another one.
    """
    if file is None or (one.version, one.part) != (version, "examples"):
        return None
    if one.row >= len(rows) or rows[one.row].label != one.label:
        raise ValueError(f"{file} is not what version {version} was trained on: see row {one.row}")
    return rows[one.row].text
