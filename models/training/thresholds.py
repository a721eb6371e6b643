"""Multi label: from which probability a label is given, chosen a label by F1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Floats

OWN_FROM = 10  # rows that have a label, under which it shares the threshold of all labels


def best_thresholds(probabilities: Floats, targets: NDArray[Any]) -> tuple[float, ...]:
    """The thresholds of the highest F1 on rows that the head was not fitted on.

    A label that fewer than `OWN_FROM` rows have takes the threshold that is best for all labels'
    decisions together: its own would be that of a few chance rows. 0.5 where those are few too.

    Args:
        probabilities: `(n, labels)`.
        targets: `(n, labels)` of 0 and 1.

    Returns:
        One a label; it is given where its probability is above.
    """
    shared = 0.5
    if targets.sum() >= OWN_FROM:
        shared = best_threshold(probabilities.reshape(-1), targets.reshape(-1))
    return tuple(
        best_threshold(probabilities[:, label], targets[:, label])
        if targets[:, label].sum() >= OWN_FROM
        else shared
        for label in range(targets.shape[1])
    )


def best_threshold(probabilities: Floats, targets: NDArray[Any]) -> float:
    """The threshold of the highest F1 for one label, half-way between two given probabilities.

    Of equals the one nearest to 0.5; 0.5 where no row has the label.
    """
    if not targets.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    sorted_down = probabilities[order].astype(np.float64)
    found = np.cumsum(targets[order])
    given = np.arange(1, len(order) + 1)
    f1 = 2.0 * found / (given + targets.sum())
    below = np.append(sorted_down[1:], 0.0)
    cuts = sorted_down > below  # equal probabilities are given or not together
    middles = (sorted_down + below)[cuts] / 2
    best = f1[cuts] >= f1[cuts].max() - 1e-12
    candidates = middles[best]
    return float(candidates[np.abs(candidates - 0.5).argmin()])
