"""Training a head on codes. Seconds, not minutes: codes are small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes, Floats, unpack_signs
from models.head_runtime import (
    ClassWeight,
    Head,
    HeadChoice,
    LinearHead,
    MLPHead,
    TaskKind,
    probabilities,
)
from models.training.calibration import fit_temperature
from models.training.crossfit import FOLDS, CrossFit, cross_fit, folds_to_run
from models.training.families import (
    Family,
    Map,
    linear_family,
    mlp_family,
    named_family,
    prototype_family,
)
from models.training.folds import assign_folds
from models.training.label_names import NAME_WEIGHT
from models.training.logistic import Link, balanced_weights, losses_of
from models.training.mlp import MLPMap
from models.training.regression import train_regression
from models.training.thresholds import best_thresholds
from models.training.trained import TrainedHead

# Mean rows a label under which class means are ahead of logistic regression (docs/experiments.md).
FEW_ROWS = 16
ABSENT = -1e4  # the output of a label without examples: under any other's
CONSTANT = 8.0  # multi label: that of a label that all rows have, or with a minus none


def train_head(
    codes: Codes,
    targets: NDArray[Any],
    *,
    kind: TaskKind,
    outputs: int,
    head: HeadChoice = "auto",
    class_weight: ClassWeight = None,
    names: Codes | None = None,
    seed: int = 0,
) -> TrainedHead:
    """Train one head: choose its prior by cross-validation, fit it on all rows, calibrate it.

    Args:
        codes: `(n, bits // 8)` uint8.
        targets: `(n,)` class indexes for single label, `(n, outputs)` of 0 and 1 for multi label,
            `(n,)` floats for regression.
        kind: the task's kind.
        outputs: number of labels (1 for regression).
        head: `linear`, `mlp`, `prototype` (class means, or logistic regression with a strong
            prior), or `auto`: `prototype` with few rows a label, else `linear`.
        class_weight: `balanced` weighs classes by inverse frequency (not for an MLP).
        names: `(outputs, bits // 8)` codes of the labels' names, which count as rows of theirs
            (see `label_names`); single label only, an MLP ignores them.
        seed: of every random choice.

    Returns:
        The head, over signs (see `models.head_runtime`).

    Raises:
        ValueError: fewer than two classes among the rows, or an unusable combination.
    """
    if len(codes) != len(targets):
        raise ValueError(f"{len(codes)} codes and {len(targets)} targets")
    if class_weight and (head == "mlp" or kind == "regression"):
        raise ValueError("class_weight is for linear and prototype classifiers")
    if kind == "regression":
        if head == "prototype":
            raise ValueError("prototype is for classifiers: a regression has no classes")
        return train_regression(codes, targets, "mlp" if head == "mlp" else "linear", seed)
    if kind == "single_label":
        matrix = np.zeros((len(targets), outputs), dtype=np.float32)
        matrix[np.arange(len(targets)), targets] = 1.0
        if matrix.any(axis=0).sum() < 2:
            raise ValueError("training needs examples of at least two labels")
    else:
        matrix = targets.astype(np.float32)
        if not matrix.any() or matrix.all():
            raise ValueError("training needs both present and absent labels")
    if names is not None and (kind != "single_label" or len(names) != outputs):
        raise ValueError(f"{len(names)} names for {outputs} labels of a {kind} task")
    if head == "mlp":
        names = None
    rows = _Rows(codes, targets, matrix, kind, class_weight, names, seed)
    family = _family(head, matrix, codes.shape[1] * 8, names is not None, seed)
    crossed = rows.cross_fit(family)
    chosen = rows.choose(family, crossed)
    *_, fitted = rows.fit(family, np.ones(len(codes), dtype=bool), chosen + 1)
    return rows.finish(family, fitted, crossed, chosen)


def _family(head: HeadChoice, matrix: Floats, bits: int, named: bool, seed: int) -> Family:
    counts = matrix.sum(axis=0)
    rows_a_label = float(counts[counts > 0].mean())
    if head == "mlp":
        return mlp_family(seed)
    if head == "prototype" or (head == "auto" and rows_a_label < FEW_ROWS):
        return named_family(rows_a_label) if named else prototype_family(rows_a_label, bits)
    return linear_family()


class _Rows:
    """Rows of a classifier, with their labels as columns of 0 and 1 beside them."""

    def __init__(
        self,
        codes: Codes,
        targets: NDArray[Any],
        matrix: Floats,
        kind: TaskKind,
        class_weight: ClassWeight,
        names: Codes | None,
        seed: int,
    ) -> None:
        self._codes, self._targets, self._matrix = codes, targets, matrix
        self._x = unpack_signs(codes)
        self._names = None if names is None else unpack_signs(names)
        self._kind, self._class_weight, self._seed = kind, class_weight, seed
        self._link: Link = "softmax" if kind == "single_label" else "logistic"

    def cross_fit(self, family: Family) -> CrossFit | None:
        """All candidates' outputs for rows that they were not fitted on."""
        fold = assign_folds(self._codes, self._targets, self._kind, FOLDS, self._seed)
        run = folds_to_run(len(fold), self._matrix.shape[1] + family.width)
        known = self._targets if self._kind == "single_label" else None
        return cross_fit(self._x, fold, run, lambda rows: list(self.fit(family, rows)), known)

    def fit(
        self, family: Family, rows: NDArray[np.bool_], count: int | None = None
    ) -> Iterator[_Spread]:
        """The first `count` candidates (all), fitted on the rows of a mask."""
        x, matrix = self._x[rows], self._matrix[rows]
        given = matrix.sum(axis=0)
        every = given == len(matrix)
        usable = (given > 0) & ~every
        constants = np.where(every, CONSTANT, -CONSTANT)
        if self._kind == "single_label":
            constants = np.full(len(usable), ABSENT)
        columns = np.flatnonzero(usable)
        known = np.ascontiguousarray(matrix[:, columns])
        weights = balanced_weights(known, self._link) if self._class_weight else None
        if self._names is not None:
            x, known, weights = _with_names(x, known, weights, self._names[columns])
        count = len(family.candidates) if count is None else count
        for fitted in family.fit(x, known, self._link, weights, count):
            yield _Spread(fitted, columns, constants.astype(np.float32))

    def choose(self, family: Family, crossed: CrossFit | None) -> int:
        """The candidate with the smallest loss, each at its best temperature."""
        counts = self._matrix.sum(axis=0)
        if crossed is None or counts[counts > 0].min() < family.choose_from:
            return family.fallback
        losses = [
            self._loss(crossed, number, self._temperature(family, crossed, number))
            for number in range(len(family.candidates))
        ]
        return int(np.argmin(losses))

    def finish(
        self, family: Family, fitted: _Spread, crossed: CrossFit | None, chosen: int
    ) -> TrainedHead:
        """The chosen candidate, calibrated."""
        candidate = family.candidates[chosen]
        temperature, cross_fitted, thresholds = candidate.temperature, None, None
        if crossed is not None:
            temperature = self._temperature(family, crossed, chosen)
            scaled = crossed.outputs[chosen] / np.float32(temperature)
            cross_fitted = (crossed.rows, probabilities(scaled, self._kind))
            if self._kind == "multi_label":
                thresholds = best_thresholds(cross_fitted[1], self._targets[crossed.rows])
        return TrainedHead(
            head=fitted.over(temperature).head(),
            kind=family.kind,
            uncalibrated=fitted.head(),
            temperature=temperature,
            thresholds=thresholds,
            cross_fitted=cross_fitted,
            hyperparameters=candidate.hyperparameters
            | ({} if self._names is None else {"label_names": True})
            | {"cross_validated_rows": 0 if crossed is None else len(crossed.rows)},
            warnings=[] if fitted.converged else ["the optimiser stopped before it converged"],
        )

    def _temperature(self, family: Family, crossed: CrossFit, number: int) -> float:
        truth = self._matrix[crossed.rows]
        expected = family.candidates[number].temperature
        return fit_temperature(crossed.outputs[number], truth, self._link, expected)

    def _loss(self, crossed: CrossFit, number: int, temperature: float) -> float:
        truth = self._matrix[crossed.rows]
        losses = losses_of(crossed.outputs[number] / np.float32(temperature), truth, self._link)
        if self._class_weight:
            losses = losses * balanced_weights(truth, self._link)
        return float(losses.mean(dtype=np.float64))


def _with_names(
    x: Floats, known: Floats, weights: Floats | None, names: Floats
) -> tuple[Floats, Floats, Floats]:
    """Rows of a softmax, and the labels' names as more of them."""
    if weights is None:
        weights = np.ones((len(x), 1), dtype=np.float32)
    of_names = np.full((len(names), 1), NAME_WEIGHT, dtype=np.float32)
    return (
        np.concatenate([x, names]),
        np.concatenate([known, np.eye(len(names), dtype=np.float32)]),
        np.concatenate([weights, of_names]),
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """A map over some columns, and constants for the others."""

    fitted: Map
    columns: NDArray[np.int64]
    constants: Floats

    @property
    def converged(self) -> bool:
        return self.fitted.converged

    def __call__(self, x: Floats) -> Floats:
        outputs = np.tile(self.constants, (len(x), 1))
        outputs[:, self.columns] = self.fitted(x)
        return outputs

    def over(self, temperature: float) -> _Spread:
        return replace(self, fitted=self.fitted.over(temperature))

    def head(self) -> Head:
        output = self.fitted.output if isinstance(self.fitted, MLPMap) else self.fitted
        weight = np.zeros((output.weight.shape[0], len(self.constants)), dtype=np.float32)
        bias = self.constants.copy()
        weight[:, self.columns], bias[self.columns] = output.weight, output.bias
        spread = LinearHead(weight, bias)
        if isinstance(self.fitted, MLPMap):
            return MLPHead(self.fitted.hidden_weight, self.fitted.hidden_bias, spread)
        return spread
