"""Kinds of classifiers: what each may be fitted as, and where to start without evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.codes import Floats
from models.head_runtime import HeadKind
from models.training.logistic import LinearMap, Link, fit_path
from models.training.mlp import HIDDEN_UNITS, MLPMap, fit_mlp
from models.training.prototype import class_means

# Inverse prior precisions (scikit-learn's C) that are tried; a code has many interchangeable bits,
# so the useful ones lie far under scikit-learn's default of 1.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03)
STRONG_PRIORS = (0.003, 0.01)

Map = LinearMap | MLPMap
# Features, columns of 0 and 1, what makes probabilities, weights, how many candidates.
FitFirst = Callable[[Floats, Floats, Link, Floats | None, int], Iterator[Map]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to fit.

    Attributes:
        hyperparameters: for the report.
        temperature: where it is expected before any row was held out.
    """

    hyperparameters: dict[str, Any]
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Family:
    """The candidates of one kind of head.

    Attributes:
        kind: of the head.
        candidates: in the order in which `fit` gives them.
        fallback: the candidate that is taken where folds cannot choose.
        choose_from: rows of the rarest label from which they can.
        width: outputs that a fit works out, beside those of the labels.
        fit: fits the first so many candidates.
    """

    kind: HeadKind
    candidates: tuple[Candidate, ...]
    fallback: int
    choose_from: int
    width: int
    fit: FitFirst


def linear_family() -> Family:
    """Logistic regression under one of `STRENGTHS`."""

    def fit(
        x: Floats, targets: Floats, link: Link, weights: Floats | None, count: int
    ) -> Iterator[Map]:
        return fit_path(x, targets, STRENGTHS[:count], link=link, weights=weights)

    candidates = tuple(Candidate({"method": "logistic", "C": c}) for c in STRENGTHS)
    return Family("linear", candidates, len(STRENGTHS) // 2, 2, 0, fit)


def prototype_family(rows_a_label: float, bits: int) -> Family:
    """Class means, or logistic regression with a strong prior where folds say that it is better.

    Args:
        rows_a_label: on the mean; means of few rows are far apart by chance alone, so that they
            seem surer than they are.
        bits: width of the codes.
    """

    def fit(
        x: Floats, targets: Floats, link: Link, weights: Floats | None, count: int
    ) -> Iterator[Map]:
        yield class_means(x, targets, link)
        yield from fit_path(x, targets, STRONG_PRIORS[: count - 1], link=link, weights=weights)

    # Medians over eight tasks of MiniLM's 1,536 bits: 216 with one row, 69 with 4, 27 with 32.
    expected = (25.0 + 180.0 / rows_a_label) * bits / 1536
    means = Candidate({"method": "class_means"}, expected)
    priors = (Candidate({"method": "logistic", "C": c}) for c in STRONG_PRIORS)
    return Family("prototype", (means, *priors), 0, 8, 0, fit)


def named_family(rows_a_label: float) -> Family:
    """Logistic regression with a strong prior, for rows with the labels' names among them.

    Class means lie behind it at every number of rows then, so they are no candidate.
    """

    def fit(
        x: Floats, targets: Floats, link: Link, weights: Floats | None, count: int
    ) -> Iterator[Map]:
        return fit_path(x, targets, STRONG_PRIORS[:count], link=link, weights=weights)

    # Medians over eight tasks: 0.27 with one row a label, 0.34 with 8, 0.49 with 32 for the first
    # prior; 0.38, 0.48, 0.70 for the second.
    rows = min(rows_a_label, 32.0)
    expected = (0.27 + 0.007 * rows, 0.38 + 0.01 * rows)
    candidates = tuple(
        Candidate({"method": "logistic", "C": c}, temperature)
        for c, temperature in zip(STRONG_PRIORS, expected, strict=True)
    )
    return Family("prototype", candidates, 0, 8, 0, fit)


def mlp_family(seed: int) -> Family:
    """One hidden layer."""

    def fit(
        x: Floats, targets: Floats, link: Link, weights: Floats | None, count: int
    ) -> Iterator[Map]:
        yield fit_mlp(x, targets, link, seed)

    candidate = Candidate({"hidden": HIDDEN_UNITS})
    return Family("mlp", (candidate,), 0, 2, HIDDEN_UNITS, fit)
