"""Calibration: one temperature for a head, and how far its probabilities are from the truth.

A temperature divides a head's outputs before softmax or the logistic function. It changes no
answer of a single-label head, only how sure it is, and folds into weight and bias.
Source: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks (2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from models.codes import Floats
from models.training.logistic import Link, losses_of

BINS = 10
RANGE = (1e-3, 1e3)
# How far a temperature may be from where it is expected, as a standard deviation of its logarithm:
# a few rows that are all answered right would else make a head infinitely sure.
EXPECTED_SPREAD = 0.5


def fit_temperature(logits: Floats, targets: Floats, link: Link, expected: float = 1.0) -> float:
    """The likeliest temperature for outputs on rows that the head was not fitted on.

    Args:
        logits: `(n, outputs)`, before softmax or the logistic function.
        targets: `(n, outputs)` of 0 and 1.
        link: what makes probabilities of the outputs.
        expected: where it is without rows; the prior is log-normal about it.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.float32(np.exp(log_temperature))
        away = float(log_temperature - np.log(expected)) / EXPECTED_SPREAD
        return float(losses_of(scaled, targets, link).sum(dtype=np.float64)) + away * away / 2

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded")
    return float(np.exp(found.x))


def reliability(
    confidence: NDArray[np.floating[Any]], right: NDArray[Any], bins: int = BINS
) -> list[dict[str, Any]]:
    """A reliability diagram: bins of equal width over the confidence, empty ones left out.

    Args:
        confidence: `(n,)` probabilities that were given.
        right: `(n,)`, whether each came true.
        bins: how many.

    Returns:
        Of each bin its bounds, its count, its mean confidence and its share of right ones.
    """
    place = np.minimum((np.asarray(confidence, dtype=np.float64) * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    sure = np.bincount(place, weights=confidence, minlength=bins)
    came_true = np.bincount(place, weights=right, minlength=bins)
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "count": int(counts[number]),
            "confidence": float(sure[number] / counts[number]),
            "accuracy": float(came_true[number] / counts[number]),
        }
        for number in np.flatnonzero(counts).tolist()
    ]


def expected_calibration_error(diagram: list[dict[str, Any]]) -> float:
    """The mean distance of confidence and accuracy over a diagram's bins, weighted by count."""
    total = sum(one["count"] for one in diagram)
    apart = sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in diagram)
    return apart / total if total else 0.0
