"""Answers as columns: what bulk files and data frames call them. Pure.

| kind | columns |
| --- | --- |
| single label | `TASK` (the label, or null where the version is not sure), `TASK_score` |
| multi label | `TASK` (a list of labels) |
| regression | `TASK` (the number) |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ._types import Prediction

ColumnType = Literal["string", "strings", "number"]
Cell = str | float | list[str] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of answers."""

    name: str
    type: ColumnType


def columns_of(tasks: Mapping[str, str], prefix: str = "") -> list[Column]:
    """The columns that answers of these tasks fill.

    Args:
        tasks: Task name to kind.
        prefix: Stands before every name.

    Raises:
        ValueError: Two columns would have the same name, as with tasks `a` and `a_score`, or one
            that of the column of errors.
    """
    types: dict[str, ColumnType] = {"multi_label": "strings", "regression": "number"}
    columns = []
    for task, kind in tasks.items():
        columns.append(Column(f"{prefix}{task}", types.get(kind, "string")))
        if kind == "single_label":
            columns.append(Column(f"{prefix}{task}_score", "number"))
    names = [*(column.name for column in columns), error_column(prefix)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two columns would be called {min(twice)!r}: ask the tasks apart")
    return columns


def error_column(prefix: str = "") -> str:
    """The name of the column that says why a row has no answer."""
    return f"{prefix}error"


def cells_of(
    tasks: Mapping[str, str], predictions: Mapping[str, Prediction] | None
) -> Sequence[Cell]:
    """One row of these columns; all None where there is no answer."""
    cells: list[Cell] = []
    for task, kind in tasks.items():
        answer = None if predictions is None else predictions[task]
        if kind == "single_label":
            cells += [None, None] if answer is None else [answer.label, answer.score]
        elif kind == "multi_label":
            cells.append(None if answer is None or answer.labels is None else list(answer.labels))
        else:
            cells.append(None if answer is None else answer.value)
    return cells
