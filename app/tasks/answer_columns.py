"""Answers as Arrow columns: straight from the heads' outputs, without rows between.

| kind | columns |
| --- | --- |
| single label | `TASK` (null where it is not sure), `TASK_score`, and `TASK_scores` if asked |
| multi label | `TASK` (a list), and `TASK_scores` if asked |
| regression | `TASK` |

Needs pyarrow (the extras `archive` and `bulk`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.tasks.plans import DIGITS, Plan, PlannedTask
from models.codes import Codes, Floats


class AnswerColumns:
    """The columns that a plan's answers fill.

    Args:
        plan: of the heads.
        scores: also give every label's probability.
        prefix: stands before every name.

    Attributes:
        fields: their names and types, in order.
    """

    def __init__(self, plan: Plan, scores: bool, prefix: str = "") -> None:
        self._plan = plan
        self._floors = dict(plan.floors)
        self._scores = scores
        self.fields: list[Any] = []
        for task in plan.tasks:
            self.fields += _fields(task, scores, prefix)

    def of(self, codes: Codes) -> list[Any]:
        """Columns for codes, `(n, bits // 8)`, in the order of `fields`."""
        stack = self._plan.stack
        if stack is None:
            return []
        best, confidence = stack.best(codes)
        plain = all(task.kind == "single_label" for task in self._plan.tasks)
        every = None if plain and not self._scores else stack.scores(codes)
        columns: list[Any] = []
        for number, task in enumerate(self._plan.tasks):
            own = None if every is None else every[:, task.start : task.stop]
            columns += self._columns(task, best[:, number], confidence[:, number], own)
        return columns

    def _columns(
        self,
        task: PlannedTask,
        best: NDArray[np.int64],
        confidence: Floats,
        every: Floats | None,
    ) -> list[Any]:
        if task.kind == "regression":
            assert every is not None
            return [pa.array(every[:, 0].astype(np.float64))]
        columns: list[Any] = []
        if task.kind == "single_label":
            rounded = confidence.astype(np.float64).round(DIGITS)
            unsure = rounded < self._floors.get(task.name, 0.0)
            places = pa.array((best - task.start).astype(np.int32), mask=unsure)
            labels = pa.DictionaryArray.from_arrays(places, pa.array(task.labels))
            columns += [labels, pa.array(rounded)]
        else:
            assert every is not None
            given = every > task.thresholds
            ends = np.concatenate([[0], given.sum(axis=1).cumsum()]).astype(np.int32)
            names = pa.array(task.labels).take(pa.array(np.nonzero(given)[1]))
            columns.append(pa.ListArray.from_arrays(pa.array(ends), names))
        if self._scores:
            assert every is not None
            values = every.astype(np.float64).round(DIGITS).T
            columns.append(
                pa.StructArray.from_arrays(
                    [pa.array(np.ascontiguousarray(one)) for one in values], list(task.labels)
                )
            )
        return columns


def refuse_twins(fields: Sequence[Any]) -> None:
    """Refuse columns of which two have one name.

    Raises:
        ValueError: there are such.
    """
    names = [field.name for field in fields]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two columns would be called {min(twice)!r}: ask the tasks apart")


def _fields(task: PlannedTask, scores: bool, prefix: str) -> list[Any]:
    name = f"{prefix}{task.name}"
    if task.kind == "regression":
        return [pa.field(name, pa.float64())]
    fields = [pa.field(name, pa.list_(pa.string()))]
    if task.kind == "single_label":
        labels = pa.dictionary(pa.int32(), pa.string())
        fields = [pa.field(name, labels), pa.field(f"{name}_score", pa.float64())]
    if scores:
        by_label = pa.struct([(label, pa.float64()) for label in task.labels])
        fields.append(pa.field(f"{name}_scores", by_label))
    return fields
