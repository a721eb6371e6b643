"""Rows whose label looks wrong. Runs in the training worker.

Two witnesses that did not see the row's own label are heard: heads that were cross-fitted, as in
confident learning (Northcutt et al., 2021, arXiv 1911.00068, "self confidence"), and the labels of
the nearest rows by Hamming distance (docs/decisions/022-similar.md has what each is worth).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes, unpack_signs
from models.head_runtime import probabilities
from models.neighbours import nearest
from models.training.crossfit import FOLDS, cross_fit
from models.training.folds import assign_folds

NEIGHBOURS = 10  # whose labels are counted
SMOOTHING = 1.0  # votes that every label has from the start
STRENGTH = 0.003  # inverse prior precision of the heads: strong, since some labels are wrong
# Rows that a head is fitted on, and that neighbours are looked for among; with more, those drawn.
MOST_ROWS = 20_000
QUERIES = 256  # rows compared with all in a row
FLOOR = 1e-6


class Suspicion(NamedTuple):
    """What speaks for and against the labels of n rows.

    Attributes:
        rows: `(n,)` their numbers.
        suspicion: `(n,)` in 0..1, high where the label looks wrong.
        probability: `(n,)` of the row's label by heads that were not fitted on it.
        suggested: `(n,)` the likeliest other label.
        agreeing: `(n,)` neighbours with the row's label.
        neighbours: `(n, k)` rows, nearest first.
        distances: `(n, k)` bits.
    """

    rows: NDArray[np.int64]
    suspicion: NDArray[np.float64]
    probability: NDArray[np.float64]
    suggested: NDArray[np.int64]
    agreeing: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    distances: NDArray[np.int64]


def find_suspects(
    codes: Codes, targets: NDArray[np.int64], outputs: int, seed: int = 0
) -> Suspicion:
    """How doubtful the label of each row is.

    Args:
        codes: `(n, bits // 8)` uint8.
        targets: `(n,)` class indexes.
        outputs: number of labels, at least 2.
        seed: of what is drawn.
    """
    rows = np.arange(len(codes))
    scores = held_out_scores(codes, targets, outputs, seed)
    neighbours, distances = neighbours_of_all(codes, seed)
    together = np.sqrt(scores * _votes(targets, neighbours, outputs))
    others = together.copy()
    others[rows, targets] = -1.0
    return Suspicion(
        rows=rows,
        suspicion=1.0 - together[rows, targets],
        probability=scores[rows, targets],
        suggested=others.argmax(axis=1),
        agreeing=(targets[neighbours] == targets[:, None]).sum(axis=1),
        neighbours=neighbours,
        distances=distances,
    )


def most_suspicious(
    codes: Codes, targets: NDArray[np.int64], outputs: int, count: int, seed: int = 0
) -> Suspicion:
    """Of `find_suspects` the `count` rows whose labels look most wrong, those first."""
    found = find_suspects(codes, targets, outputs, seed)
    first = np.argsort(-found.suspicion, kind="stable")[:count]
    return Suspicion._make(values[first] for values in found)


def held_out_scores(
    codes: Codes, targets: NDArray[np.int64], outputs: int, seed: int = 0
) -> NDArray[np.float64]:
    """`(n, outputs)` probabilities of each row's labels, by a head that was not fitted on it.

    A row whose label no other fold has gets equal ones: nothing is known of it.
    """
    # Here, not above: the service imports this module, only its worker process scipy.
    from models.training.logistic import LinearMap, fit_path

    x = unpack_signs(codes)
    matrix = np.zeros((len(codes), outputs), dtype=np.float32)
    matrix[np.arange(len(codes)), targets] = 1.0
    random = np.random.default_rng(seed)

    def fit(rows: NDArray[np.bool_]) -> list[LinearMap]:
        places = np.flatnonzero(rows)
        if len(places) > MOST_ROWS:
            places = np.sort(random.choice(places, MOST_ROWS, replace=False))
        return list(fit_path(x[places], matrix[places], (STRENGTH,), link="softmax"))

    fold = assign_folds(codes, targets, "single_label", FOLDS, seed)
    crossed = cross_fit(x, fold, FOLDS, fit, targets)
    scores = np.full((len(codes), outputs), 1.0 / outputs)
    if crossed is not None:
        known = probabilities(crossed.outputs[0], "single_label")
        scores[crossed.rows] = np.maximum(known, FLOOR)
    return scores


def neighbours_of_all(codes: Codes, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest other rows of each row, and their distances: both `(n, k)`, nearest first."""
    among = np.arange(len(codes))
    if len(codes) > MOST_ROWS:
        random = np.random.default_rng(seed)
        among = np.sort(random.choice(len(codes), MOST_ROWS, replace=False))
    pool = codes[among]
    count = min(NEIGHBOURS, len(pool) - 1)
    found = np.empty((len(codes), count), dtype=np.int64)
    distances = np.empty((len(codes), count), dtype=np.int64)
    for start in range(0, len(codes), QUERIES):
        near = nearest(codes[start : start + QUERIES], pool, count + 1)
        places = among[near.places]
        rows = np.arange(start, start + len(places))
        # Without the row itself; where it was not among them, without the farthest.
        others = places != rows[:, None]
        others[others.all(axis=1), -1] = False
        found[start : start + QUERIES] = places[others].reshape(-1, count)
        distances[start : start + QUERIES] = near.distances[others].reshape(-1, count)
    return found, distances


def _votes(
    targets: NDArray[np.int64], neighbours: NDArray[np.int64], outputs: int
) -> NDArray[np.float64]:
    """`(n, outputs)`: the share of neighbours with each label, smoothed."""
    votes = np.full((len(neighbours), outputs), SMOOTHING)
    rows = np.arange(len(neighbours))
    for column in neighbours.T:
        votes[rows, targets[column]] += 1.0
    shares: NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return shares
