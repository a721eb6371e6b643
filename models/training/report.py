"""The evaluation report of a head, beside the majority baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
)

from models.codes import Floats
from models.comparison import paired_difference, wilson_interval
from models.decision import coverage_table, right_answers, threshold_array
from models.head_runtime import MULTI_LABEL_THRESHOLD, TaskKind
from models.training.calibration import expected_calibration_error, reliability


def evaluate(
    scores: Floats,
    targets: NDArray[Any],
    train_targets: NDArray[Any],
    *,
    kind: TaskKind,
    labels: Sequence[str],
    thresholds: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Compare a head's outputs with the truth.

    Args:
        scores: `(n, outputs)` from `HeadStack.scores`.
        targets: truth of the same rows, as `train_head` takes it.
        train_targets: truth of the training rows, for the baseline.
        kind: the task's kind.
        labels: names of the outputs.
        thresholds: multi label: what each label's probability must be above; None: 0.5.

    Returns:
        A JSON-ready report; figures that do not exist for the kind, or without rows, are None.
    """
    if not len(targets):
        return _report()
    if kind == "regression":
        return _regression(scores[:, 0], targets, train_targets)
    right = right_answers(scores, targets, kind, thresholds)
    if kind == "multi_label":
        figures = _multi_label(scores, targets, train_targets, labels, thresholds)
    else:
        figures = _single_label(scores, targets, train_targets, labels)
        figures["coverage"] = coverage_table(scores.max(axis=1), right)
    by_majority = figures.pop("right_by_majority")
    gain = paired_difference(by_majority.astype(float), right.astype(float))
    return _report(
        **figures,
        accuracy_interval=list(wilson_interval(int(right.sum()), len(right))),
        majority_accuracy=float(np.mean(by_majority)),
        gain_over_majority={"mean": gain.mean, "low": gain.low, "high": gain.high},
    )


def calibration_report(
    before: Floats, after: Floats, targets: NDArray[Any], kind: TaskKind, temperature: float
) -> dict[str, Any]:
    """How far confidences were from the truth before and after calibration.

    Of a single label, the confidence of the answer; of several, each label's probability.

    Args:
        before: `(n, outputs)` probabilities before the temperature.
        after: the same after it.
        targets: truth of the rows, which the temperature was not fitted on.
        kind: the task's kind, not a regression.
        temperature: what was fitted.
    """

    def diagram(scores: Floats) -> list[dict[str, Any]]:
        if kind == "multi_label":
            return reliability(scores.reshape(-1), targets.reshape(-1))
        return reliability(scores.max(axis=1), scores.argmax(axis=1) == targets)

    bins = diagram(after)
    return {
        "method": "temperature",
        "temperature": temperature,
        "ece_before": expected_calibration_error(diagram(before)),
        "ece_after": expected_calibration_error(bins),
        "bins": bins,
    }


def _single_label(
    scores: Floats, targets: NDArray[Any], train_targets: NDArray[Any], labels: Sequence[str]
) -> dict[str, Any]:
    predicted = scores.argmax(axis=1)
    every = np.arange(len(labels))
    majority = np.bincount(train_targets, minlength=len(labels)).argmax()
    matrix = confusion_matrix(targets, predicted, labels=every)
    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "right_by_majority": targets == majority,
        "per_class": _per_class(targets, predicted, every, labels),
        "confusion": {"labels": list(labels), "matrix": matrix.tolist()},
    }


def _multi_label(
    scores: Floats,
    targets: NDArray[Any],
    train_targets: NDArray[Any],
    labels: Sequence[str],
    thresholds: Sequence[float] | None,
) -> dict[str, Any]:
    used = thresholds or (MULTI_LABEL_THRESHOLD,) * len(labels)
    predicted = (scores > threshold_array(used, len(labels))).astype(targets.dtype)
    # The baseline gives every text the most frequent set of labels.
    sets, counts = np.unique(train_targets, axis=0, return_counts=True)
    majority = sets[counts.argmax()]
    return {
        "accuracy": float(np.mean((predicted == targets).all(axis=1))),
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "right_by_majority": (targets == majority).all(axis=1),
        "per_class": _per_class(targets, predicted, np.arange(len(labels)), labels),
        "thresholds": dict(zip(labels, used, strict=True)),
    }


def _regression(
    values: Floats, targets: NDArray[Any], train_targets: NDArray[Any]
) -> dict[str, Any]:
    baseline = np.full(len(targets), np.mean(train_targets))
    return _report(
        mae=float(mean_absolute_error(targets, values)),
        r2=float(r2_score(targets, values)) if len(targets) > 1 else None,
        baseline_mae=float(mean_absolute_error(targets, baseline)),
    )


def _per_class(
    targets: NDArray[Any], predicted: NDArray[Any], every: NDArray[Any], labels: Sequence[str]
) -> list[dict[str, Any]]:
    columns = precision_recall_fscore_support(
        targets, predicted, labels=every, average=None, zero_division=0
    )
    return [
        {
            "label": label,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for label, precision, recall, f1, support in zip(labels, *columns, strict=True)
    ]


def _report(**figures: Any) -> dict[str, Any]:
    """All fields of a report, None or empty but for `figures`."""
    empty: dict[str, Any] = {
        "accuracy": None,
        "accuracy_interval": None,
        "macro_f1": None,
        "majority_accuracy": None,
        "gain_over_majority": None,
        "mae": None,
        "baseline_mae": None,
        "r2": None,
        "per_class": [],
        "confusion": None,
        "thresholds": None,
        "coverage": [],
        "calibration": None,
    }
    assert figures.keys() <= empty.keys()
    return empty | figures
