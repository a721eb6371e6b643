"""The evaluation report of a head version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._types import Usage


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
class Interval:
    """A mean difference, and its 95% bootstrap interval from `low` to `high`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One bar of a reliability diagram: answers whose confidence lay from `start` to `stop`.

    Attributes:
        start: Lower bound of the confidence.
        stop: Upper bound.
        count: Answers in it.
        confidence: Their mean confidence.
        accuracy: The share of them that was right.
    """

    start: float
    stop: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidences are from how often they are right.

    Attributes:
        method: How they were calibrated: `"temperature"`.
        temperature: What the head's outputs are divided by.
        ece_before: Expected calibration error without that, 0 to 1.
        ece_after: With it, as served.
        bins: The reliability diagram, as served.
    """

    method: str
    temperature: float
    ece_before: float
    ece_after: float
    bins: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a version is worth if it does not answer under a confidence.

    Attributes:
        min_confidence: Answers under it are left out.
        coverage: The share of texts answered.
        accuracy: The share of those answered right, or None where none is.
    """

    min_confidence: float
    coverage: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """The version whose stored rows were trained on as well.

    Attributes:
        version: The version.
        rows: How many rows it had stored.
        replaced: How many of them new examples took the place of.
    """

    version: int
    rows: int
    replaced: int


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """A head on a part of a version's training rows.

    Attributes:
        rows: Trained on.
        accuracy: On the held-out rows; None for a regression.
        interval: Its 95% interval (Wilson's), lower and upper end.
        mae: Mean absolute error, regression only.
    """

    rows: int
    accuracy: float | None = None
    interval: tuple[float, ...] | None = None
    mae: float | None = None


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """How a version's score grew with its training rows.

    Attributes:
        task: The task.
        version: The version.
        n_test: Held-out rows that all points are tested on.
        data: By number of rows; the last is the version itself.
    """

    task: str
    version: int
    n_test: int
    data: tuple[LearningPoint, ...] = ()


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
        test_source: `"held_out"` of the examples, `"given"`, `"cross_validated"` where there were
            too few to hold any out, or `"none"`.
        accuracy: Share answered right, or None for regression.
        accuracy_interval: Its 95% interval (Wilson's), lower and upper end.
        macro_f1: Mean F1 over the labels, or None for regression.
        majority_accuracy: What always answering the commonest label would reach.
        gain_over_majority: How much more that is, on the same texts.
        mae: Mean absolute error, regression only.
        r2: Share of the variance explained, regression only.
        per_class: One entry a label.
        confusion: Single label only.
        thresholds: Multi label only: what the probability of a label must be above.
        coverage: Single label only: what not answering under some confidences would give.
        calibration: None for regression, or where no texts were left for it.
        base: The version that it was trained on top of, if any.
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
    accuracy_interval: tuple[float, ...] | None = None
    macro_f1: float | None = None
    majority_accuracy: float | None = None
    gain_over_majority: Interval | None = None
    mae: float | None = None
    r2: float | None = None
    per_class: tuple[LabelReport, ...] = ()
    confusion: Confusion | None = None
    thresholds: Mapping[str, float] | None = None
    coverage: tuple[Coverage, ...] = ()
    calibration: Calibration | None = None
    base: Base | None = None
    warnings: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    seconds: Seconds | None = None
