"""Tasks, their head versions, comparisons and training jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._report_types import Interval, Report

Kind = Literal["single_label", "multi_label", "regression"]
"""What a task answers with: one label, any number of labels, or a number."""

Head = Literal["auto", "linear", "mlp", "prototype"]
"""The small predictor that is trained over the codes. `prototype` is for few examples a label;
`auto` takes it where there are, else `linear`."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One head version, as a task lists it. `created_at` is in Unix seconds."""

    version: int
    head: str
    encoder: str
    created_at: float
    active: bool
    accuracy: float | None = None
    macro_f1: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A named question.

    Attributes:
        name: Its name.
        kind: `"single_label"`, `"multi_label"` or `"regression"`.
        labels: The labels, empty for regression or before the first training.
        ready_made: Whether it came with the service.
        created_at: Unix seconds.
        versions: The trained heads, oldest first.
        active_version: The one that answers, or None.
        shadow_version: The one that answers beside it, unseen, or None.
        description: What is asked, for people.
        card: What is known of a ready-made task, as the service gives it.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    ready_made: bool
    created_at: float
    versions: tuple[VersionSummary, ...]
    active_version: int | None = None
    shadow_version: int | None = None
    description: str | None = None
    card: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class VersionSettings:
    """How a version answers, and what that is worth on the texts that it held out.

    Attributes:
        min_confidence: Single label: under it, an answer's label is None.
        thresholds: Multi label: those set by hand; other labels keep the trained ones.
        coverage: Share of the held-out texts that is answered, or None where none are stored.
        accuracy: Share of the answered ones that is right.
    """

    min_confidence: float | None = None
    thresholds: Mapping[str, float] | None = None
    coverage: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class TaskVersion:
    """One head version in full. `encoder` is the fingerprint of the codes that it reads."""

    task: str
    version: int
    kind: str
    head: str
    encoder: str
    labels: tuple[str, ...]
    created_at: float
    active: bool
    settings: VersionSettings = field(default_factory=VersionSettings)
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class ComparedVersion:
    """One of two compared versions: its accuracy, or for a regression its mean absolute error."""

    version: int
    accuracy: float | None = None
    mae: float | None = None


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test: rows that only one of the two answers right, and the p-value."""

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row that two versions answer differently.

    Attributes:
        version: The version whose training the row came with.
        part: `"examples"` or `"test_examples"` of that training.
        row: Its place there, from 0.
        truth: The label that it was given with; of several labels all.
        a: What the first version answers.
        b: What the second does.
    """

    version: int
    part: str
    row: int
    truth: str | tuple[str, ...]
    a: str | tuple[str, ...]
    b: str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions on the rows that one held out and neither was trained on.

    Attributes:
        task: The task.
        a: The first version.
        b: The second.
        rows: How many rows they were compared on.
        excluded: Held-out rows of one that the other was trained on.
        difference: b less a in accuracy, or in mean absolute error for a regression.
        mcnemar: None for a regression.
        changed: Rows that they answer differently; the first 1,000.
        changed_count: How many there are.
    """

    task: str
    a: ComparedVersion
    b: ComparedVersion
    rows: int
    excluded: int
    difference: Interval
    mcnemar: McNemar | None = None
    changed: tuple[ChangedRow, ...] = ()
    changed_count: int = 0


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in the fields of an API error."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A training or an evaluation under way or done.

    Attributes:
        id: Its name.
        task: The task that is trained, or whose version is tested.
        status: `"queued"`, `"running"`, `"succeeded"` or `"failed"`.
        stage: Queued, encoding, fitting, evaluating, saving or done.
        progress: 0 to 1.
        created_at: Unix seconds.
        version: The head version it made or tested, once it has.
        report: The evaluation, once it succeeded.
        error: Why it failed, once it did.
        finished_at: Unix seconds, or None while it goes on.
        kind: `"training"` or `"evaluation"`.
    """

    id: str
    task: str
    status: str
    stage: str
    progress: float
    created_at: float
    version: int | None = None
    report: Report | None = None
    error: JobError | None = None
    finished_at: float | None = None
    kind: str = "training"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen, in success or failure."""
        return self.status in ("succeeded", "failed") or self.finished_at is not None
