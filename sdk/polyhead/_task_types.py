"""Tasks, their head versions, training jobs and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._types import Usage

Kind = Literal["single_label", "multi_label", "regression"]
"""What a task answers with: one label, any number of labels, or a number."""

Head = Literal["linear", "mlp"]
"""The small predictor that is trained over the codes."""


@dataclass(frozen=True, slots=True)
class LabelReport:
    """How one label did on the test texts; ratios are 0 to 1.

    Attributes:
        label: The label.
        precision: Right among those answered with it.
        recall: Found among those that have it.
        f1: Harmonic mean of the two.
        support: Test texts that have it.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of test texts: `matrix[true][predicted]`, both in the order of `labels`."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time of a training went, in seconds."""

    encode: float | None = None
    fit: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The evaluation of one head version on texts that it was not trained on.

    Attributes:
        kind: Kind of the task.
        head: Kind of the head.
        n_train: Texts trained on.
        n_test: Texts tested on.
        test_source: `"held_out"` of the examples, or `"given"`.
        accuracy: Share answered right, or None for regression.
        macro_f1: Mean F1 over the labels, or None for regression.
        majority_accuracy: What always answering the commonest label would reach.
        mae: Mean absolute error, regression only.
        r2: Share of the variance explained, regression only.
        per_class: One entry a label.
        confusion: Single label only.
        warnings: What to look at before trusting the numbers.
        hyperparameters: What the head was fitted with.
        usage: Texts encoded, and found cached.
        seconds: Where the time went.
    """

    kind: str
    head: str
    n_train: int
    n_test: int
    test_source: str
    accuracy: float | None = None
    macro_f1: float | None = None
    majority_accuracy: float | None = None
    mae: float | None = None
    r2: float | None = None
    per_class: tuple[LabelReport, ...] = ()
    confusion: Confusion | None = None
    warnings: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    seconds: Seconds | None = None


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
    description: str | None = None
    card: Mapping[str, Any] | None = None


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
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in the fields of an API error."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A training under way or done.

    Attributes:
        id: Its name.
        task: The task it trains.
        status: `"queued"`, `"running"`, `"succeeded"` or `"failed"`.
        stage: Queued, encoding, fitting, evaluating, saving or done.
        progress: 0 to 1.
        created_at: Unix seconds.
        version: The head version it made, once it has.
        report: The evaluation, once it succeeded.
        error: Why it failed, once it did.
        finished_at: Unix seconds, or None while it goes on.
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

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen, in success or failure."""
        return self.status in ("succeeded", "failed") or self.finished_at is not None
