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

from models.head_runtime import MULTI_LABEL_THRESHOLD, TaskKind


def evaluate(
    scores: NDArray[np.float32],
    targets: NDArray[Any],
    train_targets: NDArray[Any],
    *,
    kind: TaskKind,
    labels: Sequence[str],
) -> dict[str, Any]:
    """Compare a head's outputs with the truth.

    Args:
        scores: `(n, outputs)` from `HeadStack.scores`.
        targets: truth of the same rows, as `train_head` takes it.
        train_targets: truth of the training rows, for the baseline.
        kind: the task's kind.
        labels: names of the outputs.

    Returns:
        A JSON-ready report; figures that do not exist for the kind are None.
    """
    if kind == "regression":
        return _regression(scores[:, 0], targets, train_targets)
    if kind == "multi_label":
        return _multi_label(scores, targets, train_targets, labels)
    return _single_label(scores, targets, train_targets, labels)


def _single_label(
    scores: NDArray[np.float32],
    targets: NDArray[Any],
    train_targets: NDArray[Any],
    labels: Sequence[str],
) -> dict[str, Any]:
    predicted = scores.argmax(axis=1)
    every = np.arange(len(labels))
    majority = np.bincount(train_targets, minlength=len(labels)).argmax()
    matrix = confusion_matrix(targets, predicted, labels=every)
    return _report(
        accuracy=accuracy_score(targets, predicted),
        macro_f1=f1_score(targets, predicted, average="macro", zero_division=0),
        majority_accuracy=np.mean(targets == majority),
        per_class=_per_class(targets, predicted, every, labels),
        confusion={"labels": list(labels), "matrix": matrix.tolist()},
    )


def _multi_label(
    scores: NDArray[np.float32],
    targets: NDArray[Any],
    train_targets: NDArray[Any],
    labels: Sequence[str],
) -> dict[str, Any]:
    predicted = (scores > MULTI_LABEL_THRESHOLD).astype(targets.dtype)
    # The baseline gives every text the most frequent set of labels.
    sets, counts = np.unique(train_targets, axis=0, return_counts=True)
    majority = sets[counts.argmax()]
    return _report(
        accuracy=np.mean((predicted == targets).all(axis=1)),
        macro_f1=f1_score(targets, predicted, average="macro", zero_division=0),
        majority_accuracy=np.mean((targets == majority).all(axis=1)),
        per_class=_per_class(targets, predicted, np.arange(len(labels)), labels),
    )


def _regression(
    values: NDArray[np.float32], targets: NDArray[Any], train_targets: NDArray[Any]
) -> dict[str, Any]:
    baseline = np.full(len(targets), np.mean(train_targets))
    return _report(
        mae=mean_absolute_error(targets, values),
        r2=r2_score(targets, values) if len(targets) > 1 else None,
        baseline_mae=mean_absolute_error(targets, baseline),
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


def _report(
    *,
    accuracy: Any = None,
    macro_f1: Any = None,
    majority_accuracy: Any = None,
    mae: Any = None,
    baseline_mae: Any = None,
    r2: Any = None,
    per_class: list[dict[str, Any]] | None = None,
    confusion: dict[str, Any] | None = None,
) -> dict[str, Any]:
    def number(value: Any) -> float | None:
        return None if value is None else float(value)

    return {
        "accuracy": number(accuracy),
        "macro_f1": number(macro_f1),
        "majority_accuracy": number(majority_accuracy),
        "mae": number(mae),
        "baseline_mae": number(baseline_mae),
        "r2": number(r2),
        "per_class": per_class or [],
        "confusion": confusion,
    }
