"""Regression heads: ridge under a chosen prior, or an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from models.codes import Codes, Floats, unpack_signs
from models.head_runtime import Head, HeadKind, LinearHead, MLPHead
from models.training.crossfit import FOLDS, cross_fit, folds_to_run
from models.training.folds import assign_folds
from models.training.logistic import LinearMap
from models.training.mlp import HIDDEN_UNITS, MLPMap, fit_mlp_regression
from models.training.trained import TrainedHead

ALPHAS = (3000.0, 1000.0, 300.0, 100.0, 30.0)  # prior precisions that are tried
CHOOSE_FROM = 20  # rows under which folds choose no better than the middle one


def train_regression(
    codes: Codes, targets: NDArray[np.float64], head: HeadKind, seed: int
) -> TrainedHead:
    """A regression head; see `train_head`."""
    x = unpack_signs(codes)
    centre, spread = float(np.mean(targets)), float(np.std(targets)) or 1.0
    scaled = (targets - centre) / spread
    alphas: Sequence[float] = ALPHAS if head == "linear" else ALPHAS[:1]

    def fit(rows: NDArray[np.bool_]) -> list[LinearMap | MLPMap]:
        if head == "mlp":
            return [fit_mlp_regression(x[rows], scaled[rows], seed)]
        return [_ridge(x[rows], scaled[rows], alpha) for alpha in alphas]

    width = HIDDEN_UNITS if head == "mlp" else len(alphas)
    fold = assign_folds(codes, targets, "regression", FOLDS, seed)
    crossed = cross_fit(x, fold, folds_to_run(len(x), width), fit)
    chosen = len(alphas) // 2
    cross_fitted = None
    if crossed is not None:
        if len(x) >= CHOOSE_FROM:
            truth = scaled[crossed.rows, None]
            chosen = int(np.argmin([np.mean((one - truth) ** 2) for one in crossed.outputs]))
        cross_fitted = (crossed.rows, crossed.outputs[chosen] * np.float32(spread) + centre)
    every = np.ones(len(x), dtype=bool)
    if head == "mlp":
        (fitted,) = fit(every)
        hyperparameters: dict[str, Any] = {"hidden": HIDDEN_UNITS}
    else:
        fitted = _ridge(x, scaled, alphas[chosen])
        hyperparameters = {"alpha": alphas[chosen]}
    return TrainedHead(
        head=_in_units(fitted, centre, spread),
        kind=head,
        cross_fitted=cross_fitted,
        hyperparameters=hyperparameters,
    )


def _ridge(x: Floats, targets: NDArray[np.float64], alpha: float) -> LinearMap:
    model = Ridge(alpha=alpha).fit(x, targets)
    weight = np.asarray(model.coef_, dtype=np.float32).reshape(-1, 1)
    return LinearMap(weight, np.array([model.intercept_], dtype=np.float32))


def _in_units(fitted: LinearMap | MLPMap, centre: float, spread: float) -> Head:
    """The head whose outputs are the map's times `spread`, plus `centre`."""
    output = fitted.output if isinstance(fitted, MLPMap) else fitted
    scaled = LinearHead(
        (output.weight * spread).astype(np.float32),
        (output.bias * spread + centre).astype(np.float32),
    )
    if isinstance(fitted, MLPMap):
        return MLPHead(fitted.hidden_weight, fitted.hidden_bias, scaled)
    return scaled
