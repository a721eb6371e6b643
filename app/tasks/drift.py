"""Drift: what is asked of a task live, against the rows that its active version was trained on.

The codes of answered texts are kept for a while, a bounded number a task, and counted when somebody
looks; counts are kept, too, so that looking often costs little (`app.tasks.drift_windows` says for
how long). The figures are this process's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from app.metrics import Metrics
from app.schemas import AnswerDrift, LabelShare, TaskDrift
from app.tasks.drift_windows import PER_SECOND, Window, Windows, still_hold
from app.tasks.plans import Plan
from app.tasks.references import NotMadeYet, References
from app.tasks.registry import Registry
from app.tasks.state import TaskState
from models.codes import stack_codes
from models.drift import MIN_TEXTS, Drift, answer_shift, measure_drift
from models.reference import MIN_ROWS, Counts, Reference, answer_counts, count_ones

SHOWN_LABELS = 10
MAKING_S = 1.0  # a look spends on references of versions that were stored without


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is known of one task; `reason` where there is no drift."""

    texts: int
    since: float | None
    reference: Reference | None = None
    drift: Drift | None = None
    reason: str | None = None
    answers: AnswerDrift | None = None
    complete: bool = True  # False: the next look may know more, of the same texts


@dataclass(frozen=True, slots=True)
class _Kept:
    """Figures of a window, and what they were made of."""

    figures: _Figures
    version: int | None
    noted: int
    at: float
    with_answers: bool


@dataclass(frozen=True, slots=True)
class _Due:
    """A task whose figures are to be made, and its window's codes at that moment."""

    state: TaskState
    window: Window | None
    noted: int
    codes: tuple[bytes, ...]


class DriftWatch:
    """Keeps codes of live texts and compares them with training rows.

    Args:
        registry: knows which version of a task answers.
        metrics: of the process; its gauges are set by `publish`.
        per_second: texts kept of one set of tasks, once a window is full.
    """

    def __init__(
        self, registry: Registry, metrics: Metrics, per_second: float = PER_SECOND
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._windows = Windows(per_second)
        self._references = References(registry)
        self._kept: WeakKeyDictionary[Window, _Kept] = WeakKeyDictionary()
        self._one_at_once = asyncio.Lock()

    def note(self, plan: Plan, encoder: str, codes: Sequence[bytes]) -> None:
        """Keep codes that a plan was asked about, or some of them. Costs next to nothing."""
        self._windows.note(plan.names, encoder, codes)

    async def report(self, state: TaskState) -> TaskDrift:
        """What is known of a task."""
        return (await self.reports([state]))[0]

    async def reports(self, states: Iterable[TaskState]) -> list[TaskDrift]:
        """What is known of several tasks."""
        asked = list(states)
        found = await self._look(asked, with_answers=True)
        return [_wire(state, figures) for state, figures in zip(asked, found, strict=True)]

    async def publish(self) -> dict[str, Drift]:
        """Bring the gauges up to date; returns the tasks that have a number."""
        tasks = self._registry.snapshot.tasks
        states = [tasks[name] for name in self._windows.names() if name in tasks]
        found = await self._look(states, with_answers=False)
        known = {
            state.name: figures.drift
            for state, figures in zip(states, found, strict=True)
            if figures.drift is not None
        }
        self._metrics.task_drift.clear()  # tasks that are gone, or have no number any more
        self._metrics.task_drift_distance.clear()
        for name, drift in known.items():
            self._metrics.task_drift.labels(name).set(drift.score)
            self._metrics.task_drift_distance.labels(name).set(drift.distance)
        return known

    async def _look(self, states: list[TaskState], *, with_answers: bool) -> list[_Figures]:
        """Figures of each task: those that are kept while they hold, else new ones."""
        async with self._one_at_once:
            now = time.monotonic()
            found: dict[str, _Figures] = {}
            due = []
            for state in states:
                window = self._windows.get(state.name, state.created_at)
                known = window and self._known(state, window, now, with_answers)
                if known:
                    found[state.name] = known
                else:
                    due.append(_due(state, window))
            made = await asyncio.to_thread(self._all_figures, due, with_answers) if due else []
            for one, figures in zip(due, made, strict=True):
                found[one.state.name] = figures
                if one.window is not None and figures.complete:
                    kept = _Kept(figures, one.state.active, one.noted, now, with_answers)
                    self._kept[one.window] = kept
        return [found[state.name] for state in states]

    def _known(
        self, state: TaskState, window: Window, now: float, with_answers: bool
    ) -> _Figures | None:
        kept = self._kept.get(window)
        if kept is None or kept.version != state.active:
            return None
        if with_answers and not kept.with_answers:
            return None
        return kept.figures if still_hold(kept.noted, window.noted, now - kept.at) else None

    def _all_figures(self, due: list[_Due], with_answers: bool) -> list[_Figures]:
        until = time.monotonic() + MAKING_S
        # Tasks that are asked together have the same codes, which are counted once.
        counted: dict[tuple[bytes, ...], Counts] = {}
        return [self._figures(one, counted, with_answers, until) for one in due]

    def _figures(
        self,
        one: _Due,
        counted: dict[tuple[bytes, ...], Counts],
        with_answers: bool,
        until: float,
    ) -> _Figures:
        state, window = one.state, one.window
        manifest = state.active_manifest
        # Each text counts once, however often it is asked: a popular one is no other kind of text.
        codes = tuple(dict.fromkeys(one.codes))
        since = window.since if window else None
        if manifest is None or state.active is None:
            return _Figures(len(codes), since, reason="no version is active")
        try:
            reference = self._references.of(state, state.active, until)
        except NotMadeYet:
            reason = f"the training rows of version {state.active} are yet to be counted"
            return _Figures(len(codes), since, reason=reason, complete=False)
        if reference is None:
            reason = (
                f"version {state.active} has no bit frequencies of {MIN_ROWS} or more training rows"
            )
            return _Figures(len(codes), since, reason=reason)
        if window and window.encoder not in manifest.encoders:
            codes = ()  # asked before the version became active, of another encoder
        if len(codes) < MIN_TEXTS:
            reason = f"{len(codes)} different texts were asked, {MIN_TEXTS} are needed"
            return _Figures(len(codes), since, reference, reason=reason)
        if codes not in counted:
            counted[codes] = count_ones(stack_codes(codes))
        drift = measure_drift(reference, counted[codes], len(codes))
        answers = _answers(state, reference, codes) if with_answers else None
        return _Figures(len(codes), since, reference, drift, answers=answers)


def _due(state: TaskState, window: Window | None) -> _Due:
    if window is None:
        return _Due(state, None, 0, ())
    return _Due(state, window, window.noted, tuple(window.codes))


def _wire(state: TaskState, figures: _Figures) -> TaskDrift:
    drift, reference = figures.drift, figures.reference
    return TaskDrift(
        task=state.name,
        version=state.active,
        drift=None if drift is None else round(drift.score, 4),
        distance=None if drift is None else round(drift.distance, 4),
        shifted=None if drift is None else drift.score > 1,
        texts=figures.texts,
        training_rows=None if reference is None else reference.rows,
        since=figures.since,
        reason=figures.reason,
        answers=figures.answers,
    )


def _answers(
    state: TaskState, reference: Reference, codes: tuple[bytes, ...]
) -> AnswerDrift | None:
    manifest = state.active_manifest
    if reference.answers is None or state.head is None or manifest is None:
        return None
    counts = answer_counts(state.head, state.kind, len(manifest.labels), stack_codes(codes))
    shift = None if counts is None else answer_shift(reference, counts)
    if counts is None or shift is None:
        return None
    trained, live = reference.answers / reference.answers.sum(), counts / counts.sum()
    most = np.argsort(-np.abs(live - trained), kind="stable")[:SHOWN_LABELS]
    return AnswerDrift(
        share=round(shift.share, 4),
        by_chance=round(shift.chance, 4),
        labels=[
            LabelShare(
                label=manifest.labels[place],
                trained=round(float(trained[place]), 4),
                live=round(float(live[place]), 4),
            )
            for place in most.tolist()
        ],
    )
