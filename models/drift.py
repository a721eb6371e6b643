"""How far live codes are from the rows that a head was trained on. numpy only.

Each bit of a code is a sensor: how often it is set, live and among the training rows. The
differences of all bits, each over the bit's own spread, add up to one squared distance. Bits are
correlated, so the sum is no chi-square: what chance alone makes of it is read off the
training rows themselves, once, when a head is trained (`models.reference`).

The distance is between means, as in a kernel two-sample test with a linear kernel (Gretton et al.,
*A Kernel Two-Sample Test*, 2012). That of traffic with a share `s` of foreign texts is `s` times
that of the foreign texts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.reference import Counts, Reference, bit_weights

MIN_TEXTS = 30  # live texts under which nothing is said


@dataclass(frozen=True, slots=True)
class Drift:
    """Live codes against a reference.

    Attributes:
        texts: different codes that were compared.
        score: the distance over what 99 of 100 samples of the training rows, as many as there are
            texts, stay under. Above 1 it is more than chance; it grows with `texts`.
        distance: between the means of live codes and training rows, in standard deviations of the
            training rows, noise taken off: 0 where there is nothing but noise. Does not grow.
    """

    texts: int
    score: float
    distance: float


def measure_drift(reference: Reference, ones: Counts, texts: int) -> Drift | None:
    """Compare live codes with training rows.

    Args:
        reference: of the version that answers.
        ones: `(bits,)`, from `count_ones` of the different live codes.
        texts: how many those are.

    Returns:
        None under `MIN_TEXTS`.

    Raises:
        ValueError: the codes are of another width.
    """
    if ones.shape != reference.ones.shape:
        raise ValueError(f"codes of {len(ones)} bits, training rows of {len(reference.ones)}")
    if texts < MIN_TEXTS:
        return None
    weights, frequencies = bit_weights(reference.ones, reference.rows), reference.frequencies
    squared = float((weights * (ones / texts - frequencies) ** 2).sum())
    noise = 1 / texts + 1 / reference.rows
    # The rows' own variance, unbiased, on the same scale: what `noise` multiplies on average.
    spread = float((weights * frequencies * (1 - frequencies)).sum())
    spread *= reference.rows / (reference.rows - 1)
    return Drift(
        texts=texts,
        score=(squared / (reference.limit * noise)) ** 0.5,
        distance=max(0.0, squared / spread - noise) ** 0.5 if spread else 0.0,
    )


@dataclass(frozen=True, slots=True)
class AnswerShift:
    """Labels given live against labels given to the training rows.

    Attributes:
        share: of the answers that would have to be others for the two to be alike (the total
            variation distance), 0 to 1.
        chance: what that share is expected to be for samples of this size that do not differ.
    """

    share: float
    chance: float


def answer_shift(reference: Reference, counts: NDArray[Any]) -> AnswerShift | None:
    """Compare answers; None where one side has none.

    Args:
        reference: of the version that answers.
        counts: `(labels,)`, how often each label is given live.
    """
    if reference.answers is None or not counts.sum() or not reference.answers.sum():
        return None
    live, trained = counts / counts.sum(), reference.answers / reference.answers.sum()
    both = (counts + reference.answers) / (counts.sum() + reference.answers.sum())
    variance = both * (1 - both) * (1 / counts.sum() + 1 / reference.answers.sum())
    # The mean of |x| for a normal x is sqrt(2 / pi) standard deviations.
    chance = 0.5 * float(np.sqrt(2 / np.pi * variance).sum())
    return AnswerShift(0.5 * float(np.abs(live - trained).sum()), chance)
