"""Plans: which heads answer a request, stacked into one matrix, and how answers are written. Pure.

A plan belongs to one registry snapshot and one list of tasks; making it copies weights, so it is
kept with the snapshot (`plan_for`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import Conflict
from app.tasks.registry import Snapshot, TaskState
from models.codes import stack_codes
from models.head_runtime import HeadStack, TaskKind

MAX_PLANS = 64
MULTI_LABEL_THRESHOLD = 0.5
DIGITS = 6  # of scores in answers; the float noise of a larger batch is far under it


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task's columns in the stack's scores."""

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    version: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Heads of the asked tasks. `skipped` names tasks left out of "all tasks", and why."""

    tasks: tuple[PlannedTask, ...]
    stack: HeadStack | None
    skipped: tuple[dict[str, str], ...]

    def predict(self, codes: Sequence[bytes], with_scores: bool) -> list[dict[str, Any]]:
        """Predictions by task name, one dict a code."""
        if self.stack is None:
            return [{} for _ in codes]
        scores = self.stack.scores(stack_codes(list(codes)))
        answers: list[dict[str, Any]] = [{} for _ in codes]
        for task in self.tasks:
            columns = scores[:, task.start : task.stop]
            for answer, prediction in zip(answers, _write(task, columns, with_scores), strict=True):
                answer[task.name] = prediction
        return answers


def plan_for(snapshot: Snapshot, names: Sequence[str] | None, fingerprint: str, bits: int) -> Plan:
    """The plan for these tasks under this encoder, from the snapshot's cache if it was made before.

    Args:
        snapshot: of the registry.
        names: asked tasks; None for all that can answer.
        fingerprint: of the encoder whose codes will be read.
        bits: width of its codes.

    Raises:
        NotFound: no such task.
        Conflict: an asked task has no active version, or its head is for another fingerprint.
    """
    key = (None if names is None else tuple(names), fingerprint)
    plan: Plan | None = snapshot.plans.get(key)
    if plan is None:
        plan = _make(snapshot, names, fingerprint, bits)
        if len(snapshot.plans) >= MAX_PLANS:
            snapshot.plans.pop(next(iter(snapshot.plans)), None)
        snapshot.plans[key] = plan
    return plan


def obstacle(state: TaskState, fingerprint: str, bits: int) -> str | None:
    """Why a task's active head cannot read codes of this encoder; None if it can."""
    manifest = state.active_manifest
    if manifest is None or state.head is None:
        return f"task {state.name!r} has no active version"
    if fingerprint not in manifest.encoders or manifest.bits != bits:
        theirs = next(iter(manifest.encoders), "none")
        return (
            f"the active head of task {state.name!r} is for encoder {theirs}, "
            f"the running encoder is {fingerprint}"
        )
    return None


def _make(snapshot: Snapshot, names: Sequence[str] | None, fingerprint: str, bits: int) -> Plan:
    if names is None:
        states = list(snapshot.tasks.values())
    else:
        states = [snapshot.get(name) for name in dict.fromkeys(names)]
    usable, skipped = [], []
    for state in states:
        reason = obstacle(state, fingerprint, bits)
        if reason is None:
            usable.append(state)
        elif names is None:
            skipped.append({"task": state.name, "reason": reason})
        else:
            raise Conflict(reason, param="tasks", code="head_not_usable")
    heads = [state.head for state in usable if state.head is not None]
    if not heads:
        return Plan((), None, tuple(skipped))
    stack = HeadStack(heads, [state.kind for state in usable])
    planned = tuple(
        PlannedTask(state.name, state.kind, _labels(state), state.active or 0, start, stop)
        for state, (start, stop) in zip(usable, stack.spans, strict=True)
    )
    return Plan(planned, stack, tuple(skipped))


def _labels(state: TaskState) -> tuple[str, ...]:
    manifest = state.active_manifest
    return manifest.labels if manifest else state.labels


def _write(
    task: PlannedTask, scores: NDArray[np.float32], with_scores: bool
) -> list[dict[str, Any]]:
    """One task's answers for all rows of `scores`, `(n, labels)`."""
    labels, version = task.labels, task.version
    if task.kind == "regression":
        return [{"value": value, "version": version} for value in _rounded(scores[:, 0])]
    answers: list[dict[str, Any]]
    if task.kind == "single_label":
        best = scores.argmax(axis=1)
        confidence = _rounded(scores.max(axis=1))
        answers = [
            {"label": labels[place], "score": score, "version": version}
            for place, score in zip(best.tolist(), confidence, strict=True)
        ]
    else:
        answers = [
            {
                "labels": [labels[place] for place in np.flatnonzero(row).tolist()],
                "version": version,
            }
            for row in scores > MULTI_LABEL_THRESHOLD
        ]
    if with_scores:
        for answer, row in zip(answers, scores, strict=True):
            answer["scores"] = dict(zip(labels, _rounded(row), strict=True))
    return answers


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [round(value, DIGITS) for value in values.tolist()]
