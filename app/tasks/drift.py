"""Drift: what is asked of a task live, against the rows that its active version was trained on.

The codes of answered texts are kept for a while, a bounded number a task, and counted when somebody
looks. On the main path that costs a dictionary look-up a request, and now and then a few list
entries. The figures are this process's own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import Conflict, NotFound
from app.metrics import Metrics
from app.schemas import AnswerDrift, LabelShare, TaskDrift
from app.tasks.plans import Plan
from app.tasks.registry import Registry
from app.tasks.state import TaskState
from models.codes import stack_codes
from models.drift import MIN_TEXTS, Drift, answer_shift, measure_drift
from models.reference import MIN_ROWS, Counts, Reference, answer_counts, count_ones

logger = logging.getLogger(__name__)

WINDOW = 1_024  # texts of a task that are kept, the newest
PER_SECOND = 8.0  # of them from one set of tasks, once so many are kept: a window of two minutes
MAX_TASKS = 256  # with a window: 60 MB of codes if no two tasks share any
MAX_SETS = 1_000
SHOWN_LABELS = 10


@dataclass(slots=True)
class _Bucket:
    """How many more texts asked of one set of tasks are kept now."""

    tokens: float
    at: float  # when they were counted
    closed_until: float = 0.0


@dataclass(slots=True)
class _Window:
    """The newest codes asked of a task, all of one encoder."""

    encoder: str
    since: float = field(default_factory=time.time)
    codes: deque[bytes] = field(default_factory=lambda: deque(maxlen=WINDOW))


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is known of one task; `reason` where there is no drift."""

    texts: int
    since: float | None
    reference: Reference | None = None
    drift: Drift | None = None
    reason: str | None = None
    codes: tuple[bytes, ...] = ()


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
        self._per_second = per_second
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._windows: dict[str, _Window] = {}
        self._references: dict[tuple[str, float, int], Reference | None] = {}
        self._one_at_once = asyncio.Lock()

    def note(self, plan: Plan, encoder: str, codes: Sequence[bytes]) -> None:
        """Keep codes that a plan was asked about, or some of them. Costs next to nothing."""
        now = time.monotonic()
        bucket = self._buckets.get(plan.names)
        if bucket is None:
            bucket = self._open(plan.names, now)
        elif now < bucket.closed_until:  # nearly always, where there is much traffic
            return
        tokens = min(WINDOW, bucket.tokens + (now - bucket.at) * self._per_second)
        kept = _spread(codes, int(tokens))
        bucket.at, bucket.tokens = now, tokens - len(kept)
        bucket.closed_until = now + max(0.0, 1 - bucket.tokens) / self._per_second
        for name in plan.names if kept else ():
            self._window(name, encoder).codes.extend(kept)

    async def report(self, state: TaskState) -> TaskDrift:
        """What is known of a task."""
        return (await self.reports([state]))[0]

    async def reports(self, states: Iterable[TaskState]) -> list[TaskDrift]:
        """What is known of several tasks."""
        windows = [(state, self._frozen(state)) for state in states]
        async with self._one_at_once:
            return await asyncio.to_thread(
                lambda: [_wire(*figures) for figures in self._all_figures(windows)]
            )

    async def publish(self) -> dict[str, Drift]:
        """Bring the gauges up to date; returns the tasks that have a number."""
        states = self._registry.snapshot.tasks
        windows = [
            (states[name], self._frozen(states[name])) for name in self._windows if name in states
        ]
        async with self._one_at_once:
            found = await asyncio.to_thread(self._all_figures, windows)
        known = {state.name: figures.drift for state, figures in found if figures.drift is not None}
        self._metrics.task_drift.clear()  # tasks that are gone, or have no number any more
        self._metrics.task_drift_distance.clear()
        for name, drift in known.items():
            self._metrics.task_drift.labels(name).set(drift.score)
            self._metrics.task_drift_distance.labels(name).set(drift.distance)
        return known

    def _open(self, names: tuple[str, ...], now: float) -> _Bucket:
        if len(self._buckets) >= MAX_SETS:
            self._buckets.pop(next(iter(self._buckets)))
        bucket = self._buckets[names] = _Bucket(WINDOW, now)
        return bucket

    def _window(self, name: str, encoder: str) -> _Window:
        window = self._windows.get(name)
        if window is None or window.encoder != encoder:
            if window is None and len(self._windows) >= MAX_TASKS:
                self._windows.pop(next(iter(self._windows)))
            window = self._windows[name] = _Window(encoder)
        return window

    def _frozen(self, state: TaskState) -> _Window | None:
        """A task's window as it is now, for a thread; None if it is of a deleted task."""
        window = self._windows.get(state.name)
        if window is None or window.since < state.created_at:
            self._windows.pop(state.name, None)
            return None
        return _Window(window.encoder, window.since, window.codes.copy())

    def _all_figures(
        self, windows: list[tuple[TaskState, _Window | None]]
    ) -> list[tuple[TaskState, _Figures]]:
        # Tasks that are asked together have the same codes, which are counted once.
        counted: dict[tuple[bytes, ...], Counts] = {}
        return [(state, self._figures(state, window, counted)) for state, window in windows]

    def _figures(
        self, state: TaskState, window: _Window | None, counted: dict[tuple[bytes, ...], Counts]
    ) -> _Figures:
        manifest = state.active_manifest
        # Each text counts once, however often it is asked: a popular one is no other kind of text.
        codes = tuple(dict.fromkeys(window.codes)) if window else ()
        since = window.since if window else None
        if manifest is None or state.active is None:
            return _Figures(len(codes), since, reason="no version is active")
        reference = self._reference(state, state.active)
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
        return _Figures(len(codes), since, reference, drift, codes=codes)

    def _reference(self, state: TaskState, version: int) -> Reference | None:
        key = (state.name, state.created_at, version)
        if key not in self._references:
            try:
                found = self._registry.reference(state.name, version)
            except (Conflict, OSError) as error:
                logger.error("drift of task %s is not known: %s", state.name, error)
                found = None
            except NotFound:
                return None  # deleted in between
            if len(self._references) >= MAX_TASKS:
                self._references.pop(next(iter(self._references)))
            self._references[key] = found
        return self._references[key]


def _spread(codes: Sequence[bytes], most: int) -> Sequence[bytes]:
    """At most so many of a request's codes, from all over it: its texts may be sorted."""
    if len(codes) <= most:
        return codes
    return [codes[place * len(codes) // most] for place in range(most)]


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
        answers=_answers(state, figures),
    )


def _answers(state: TaskState, figures: _Figures) -> AnswerDrift | None:
    reference = figures.reference
    if reference is None or reference.answers is None or state.head is None or not figures.codes:
        return None
    manifest = state.active_manifest
    assert manifest is not None
    codes = stack_codes(figures.codes)
    counts = answer_counts(state.head, state.kind, len(manifest.labels), codes)
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
