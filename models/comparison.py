"""Is one head better than another on the same rows? numpy only: the service works it out itself.

Sources: McNemar, Note on the sampling error of the difference between correlated proportions
(1947), in its exact form; Efron, Bootstrap methods (1979), percentiles; Wilson, Probable inference
(1927).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference of means, second minus first.

    Attributes:
        mean: of the differences.
        low: lower end of its bootstrap interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


def paired_difference(
    first: NDArray[np.floating], second: NDArray[np.floating], seed: int = 0
) -> Difference:
    """The mean difference over rows with its bootstrap interval of `CONFIDENCE`.

    Rows are resampled as how often each distinct difference comes: of right and wrong answers
    there are three, and a resample is one draw of three counts.

    Args:
        first: `(n,)` a figure a row, such as 1 for right and 0 for wrong.
        second: `(n,)` of the same rows.
        seed: of the resampling.

    Raises:
        ValueError: no rows.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} rows cannot be compared")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    values, counts = np.unique(differences, return_counts=True)
    random = np.random.default_rng(seed)
    if len(values) <= 16:
        drawn = random.multinomial(len(differences), counts / len(differences), RESAMPLES)
        means = drawn @ values / len(differences)
    else:
        means = np.array(
            [random.choice(differences, len(differences)).mean() for _ in range(RESAMPLES // 10)]
        )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Difference(float(differences.mean()), float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    Args:
        only_first: rows that only the first answers right.
        only_second: rows that only the second does.

    Returns:
        How likely so uneven counts are if both answers are as good.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    term, tail = 1, 0
    for right in range(fewer + 1):
        tail += term
        term = term * (count - right) // (right + 1)
    return min(1.0, math.exp(_log(2 * tail, count)))


def _log(value: int, halvings: int) -> float:
    """The logarithm of `value / 2**halvings`, which may be too large for a float each."""
    shift = max(0, value.bit_length() - 64)
    return math.log(value >> shift) + (shift - halvings) * math.log(2)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """The interval of `CONFIDENCE` for a share of which `right` of `count` were seen.

    Raises:
        ValueError: no rows.
    """
    if count < 1:
        raise ValueError("an interval needs a row")
    z = 1.959963984540054  # the normal quantile of CONFIDENCE, both tails
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # The share lies within; where it is 0 or 1 it is an end, but for rounding.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
