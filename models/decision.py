"""From probabilities to answers: thresholds of several labels, and being not sure. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Floats
from models.head_runtime import MULTI_LABEL_THRESHOLD, TaskKind

COVERAGE_STEPS = 20  # thresholds in a report's table: 0, 0.05, ...


def threshold_array(thresholds: Sequence[float] | None, labels: int) -> Floats:
    """`(labels,)` of what probabilities must be above."""
    if thresholds is None:
        return np.full(labels, MULTI_LABEL_THRESHOLD, dtype=np.float32)
    return np.asarray(thresholds, dtype=np.float32)


def right_answers(
    scores: Floats,
    targets: NDArray[Any],
    kind: TaskKind,
    thresholds: Sequence[float] | None = None,
) -> NDArray[np.bool_]:
    """Whether each row is answered right: its label, or its whole set of labels.

    Args:
        scores: `(n, outputs)` probabilities.
        targets: as `train_head` takes them; not of a regression.
        kind: of the task.
        thresholds: multi label, one a label; None: 0.5.
    """
    if kind == "single_label":
        right: NDArray[np.bool_] = scores.argmax(axis=1) == targets
        return right
    given = scores > threshold_array(thresholds, scores.shape[1])
    whole: NDArray[np.bool_] = (given == targets.astype(bool)).all(axis=1)
    return whole


def coverage_at(
    confidence: NDArray[Any], right: NDArray[np.bool_], min_confidence: float
) -> dict[str, float | None]:
    """What a head answers, and how well, if it is not sure under `min_confidence`.

    Args:
        confidence: `(n,)` probabilities of the answers.
        right: `(n,)`, whether each is right.
        min_confidence: answers under it are not given.

    Returns:
        The share of rows answered, and the accuracy on those (None where there are none).
    """
    answered = confidence >= min_confidence
    return {
        "min_confidence": min_confidence,
        "coverage": float(answered.mean()) if len(answered) else None,
        "accuracy": float(right[answered].mean()) if answered.any() else None,
    }


def coverage_table(
    confidence: NDArray[Any], right: NDArray[np.bool_]
) -> list[dict[str, float | None]]:
    """`coverage_at` over thresholds from 0 in equal steps."""
    steps = range(COVERAGE_STEPS)
    return [coverage_at(confidence, right, step / COVERAGE_STEPS) for step in steps]
