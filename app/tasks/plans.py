"""Plans: which heads answer a request, stacked into one matrix, and how answers are written. Pure.

A plan belongs to one registry snapshot and one list of tasks; making it copies weights, so it is
kept with the snapshot (`plan_for`).

Where all tasks give one label, the same few pieces of JSON make up every answer: `written` joins
them, which takes a quarter of the time of making dicts and turning these into JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import Conflict
from app.tasks.settings import thresholds_of
from app.tasks.state import Snapshot, TaskState
from models.codes import Floats, stack_codes
from models.decision import threshold_array
from models.head_runtime import HeadStack, TaskKind

MAX_PLANS = 64
DIGITS = 6  # of scores in answers; the float noise of a larger batch is far under it
FEW = 10  # answers under which joining pieces takes longer than making dicts
# What orjson makes one code's predictions of: a dict, or JSON already.
Written = dict[str, Any] | orjson.Fragment


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task's columns in the stack's scores, and from where several labels are given."""

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    version: int
    start: int
    stop: int
    thresholds: Floats


@dataclass(frozen=True, slots=True)
class PlannedShadow:
    """A task's version that answers beside the active one, unseen.

    Attributes:
        task: its name.
        created_at: when the task was made: a new one of the same name is another.
        active: the version that is compared with.
        version: the shadow.
        plan: answers this task alone, by the shadow.
    """

    task: str
    created_at: float
    active: int
    version: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class Pieces:
    """The JSON of answers that are one label a task, but for the scores.

    Attributes:
        before_score: by column of the stack, the end of the task before it and all up to the score.
        end: what follows the last score.
    """

    before_score: tuple[bytes, ...]
    end: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Heads of the asked tasks.

    Attributes:
        skipped: tasks left out of "all tasks", and why.
        floors: the confidence under which a task does not answer, of tasks that have one.
        shadows: of the asked tasks that have one.
        only_labels: all tasks are single label.
        pieces: of the answers, when all tasks are single label and nobody looks into the answers.
    """

    tasks: tuple[PlannedTask, ...]
    stack: HeadStack | None
    skipped: tuple[dict[str, str], ...]
    names: tuple[str, ...]
    only_labels: bool = False
    pieces: Pieces | None = None
    floors: tuple[tuple[str, float], ...] = ()
    shadows: tuple[PlannedShadow, ...] = ()

    def predict(self, codes: Sequence[bytes], with_scores: bool) -> list[dict[str, Any]]:
        """Predictions by task name, one dict a code."""
        if self.stack is None or not codes:
            return [{} for _ in codes]
        answers = self._answers(self.stack, codes, with_scores)
        for name, floor in self.floors:
            for answer in answers:
                if answer[name]["score"] < floor:
                    answer[name] |= {"label": None, "abstained": True}
        return answers

    def written(self, codes: Sequence[bytes], with_scores: bool) -> Sequence[Written]:
        """What `predict` answers, for orjson to write: as JSON already where that is faster."""
        few = len(codes) * len(self.tasks) < FEW
        if self.stack is None or self.pieces is None or with_scores or few:
            return self.predict(codes, with_scores)
        places, scores = self.stack.best(stack_codes(codes))
        numbers = orjson.dumps(_rounded(scores).ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
        # Piece, score, piece, score: by slices, so that no step here is a step of Python's a score.
        parts = [b""] * (2 * places.size)
        parts[0::2] = map(self.pieces.before_score.__getitem__, places.ravel().tolist())
        parts[1::2] = numbers[1:-1].split(b",")
        width, end = 2 * len(self.tasks), self.pieces.end
        return [
            orjson.Fragment(b"".join(parts[start : start + width]) + end)
            for start in range(0, len(parts), width)
        ]

    def _answers(
        self, stack: HeadStack, codes: Sequence[bytes], with_scores: bool
    ) -> list[dict[str, Any]]:
        array = stack_codes(codes)
        best, best_scores = stack.best(array)
        places, rounded = best.tolist(), _rounded(best_scores).tolist()
        if self.only_labels and not with_scores:
            return [
                {
                    task.name: {
                        "label": task.labels[place - task.start],
                        "score": score,
                        "version": task.version,
                    }
                    for task, place, score in zip(self.tasks, row, scores, strict=True)
                }
                for row, scores in zip(places, rounded, strict=True)
            ]
        every = stack.scores(array)
        return [self._write(*row, with_scores) for row in zip(every, places, rounded, strict=True)]

    def _write(
        self,
        scores: NDArray[np.float32],
        best: list[int],
        best_scores: list[float],
        with_scores: bool,
    ) -> dict[str, Any]:
        """One code's answers. `best` is each task's highest column, counted over all tasks."""
        answers: dict[str, Any] = {}
        for task, place, score in zip(self.tasks, best, best_scores, strict=True):
            columns = scores[task.start : task.stop]
            if task.kind == "regression":
                # Significant digits, all that a float32 has: a unit may be small.
                value = float(f"{columns[0]:.9g}")
                answers[task.name] = {"value": value, "version": task.version}
                continue
            if task.kind == "single_label":
                answer = {"label": task.labels[place - task.start], "score": score}
            else:
                chosen = np.flatnonzero(columns > task.thresholds)
                answer = {"labels": [task.labels[label] for label in chosen.tolist()]}
            answers[task.name] = answer | {"version": task.version}
            if with_scores:
                by_label = dict(zip(task.labels, _rounded(columns).tolist(), strict=True))
                answers[task.name]["scores"] = by_label
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
        plan = make_plan(snapshot, names, fingerprint, bits)
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


def plan_with(
    snapshot: Snapshot, state: TaskState, others: Sequence[str], fingerprint: str, bits: int
) -> Plan:
    """A plan for a task as `state` has it, whichever version is active, and for other tasks.

    Raises:
        NotFound, Conflict: as `plan_for`.
    """
    tasks = MappingProxyType({**snapshot.tasks, state.name: state})
    return make_plan(Snapshot(tasks), [state.name, *others], fingerprint, bits)


def make_plan(snapshot: Snapshot, names: Sequence[str] | None, fingerprint: str, bits: int) -> Plan:
    """`plan_for` without looking for one that was made before."""
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
        return Plan((), None, tuple(skipped), ())
    stack = HeadStack(heads, [state.kind for state in usable])
    planned = tuple(
        PlannedTask(
            state.name, state.kind, _labels(state), state.active or 0, start, stop, _cuts(state)
        )
        for state, (start, stop) in zip(usable, stack.spans, strict=True)
    )
    settings = {state.name: state.settings_of(state.active or 0) for state in usable}
    floors = tuple(
        (name, one.min_confidence) for name, one in settings.items() if one.min_confidence
    )
    shadows = tuple(
        shadow for state in usable if (shadow := _shadow(snapshot, state, fingerprint, bits))
    )
    names = tuple(task.name for task in planned)
    only_labels = all(task.kind == "single_label" for task in planned)
    pieces = _pieces(planned) if only_labels and not floors and not shadows else None
    return Plan(planned, stack, tuple(skipped), names, only_labels, pieces, floors, shadows)


def _pieces(tasks: Sequence[PlannedTask]) -> Pieces:
    pieces: dict[int, bytes] = {}
    end = b"{"
    for task in tasks:
        for column, label in enumerate(task.labels, start=task.start):
            named = orjson.dumps(task.name), orjson.dumps(label)
            pieces[column] = end + b'%b:{"label":%b,"score":' % named
        end = b',"version":%d},' % task.version
    return Pieces(tuple(pieces[column] for column in sorted(pieces)), end[:-1] + b"}")


def _shadow(
    snapshot: Snapshot, state: TaskState, fingerprint: str, bits: int
) -> PlannedShadow | None:
    if state.shadow is None or state.active is None or state.shadow == state.active:
        return None
    seen = replace(state, active=state.shadow, head=state.shadow_head, shadow=None)
    if obstacle(seen, fingerprint, bits) is not None:
        return None  # it is for another encoder: nothing to compare
    plan = plan_with(snapshot, seen, (), fingerprint, bits)
    return PlannedShadow(state.name, state.created_at, state.active, state.shadow, plan)


def _labels(state: TaskState) -> tuple[str, ...]:
    manifest = state.active_manifest
    return manifest.labels if manifest else state.labels


def _cuts(state: TaskState) -> Floats:
    manifest = state.active_manifest
    thresholds = None
    if manifest is not None:
        thresholds = thresholds_of(manifest, state.settings_of(state.active or 0))
    return threshold_array(thresholds, len(_labels(state)))


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """`DIGITS` decimals; as doubles, since rounded float32s would show more."""
    return values.astype(np.float64).round(DIGITS)
