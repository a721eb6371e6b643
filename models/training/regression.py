"""Regression heads: ridge under a chosen prior, or an MLP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

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
        return list(fit_ridges(x[rows], scaled[rows], alphas))

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
        [fitted] = fit_ridges(x, scaled, alphas[chosen : chosen + 1])
        hyperparameters = {"alpha": alphas[chosen]}
    return TrainedHead(
        head=_in_units(fitted, centre, spread),
        kind=head,
        cross_fitted=cross_fitted,
        hyperparameters=hyperparameters,
    )


def fit_ridges(
    x: Floats, targets: NDArray[np.float64], alphas: Sequence[float]
) -> Iterator[LinearMap]:
    """Ridge regressions that share the products of the rows, where the time goes.

    Minimises `|x @ weight + bias - targets|^2 + alpha |weight|^2`, the bias free.

    Args:
        x: `(n, width)` float32 features.
        targets: `(n,)`.
        alphas: prior precisions, as scikit-learn's `Ridge` has them.

    Yields:
        A map to `(n, 1)` an alpha.
    """
    centre, mean = x.mean(axis=0), float(targets.mean())
    rows = x - centre
    aims = (targets - mean).astype(np.float32)
    few = len(rows) < rows.shape[1]
    # With few rows the solution is a sum of them: the smaller system is that of their products.
    products = (rows @ rows.T if few else rows.T @ rows).astype(np.float64)
    right = (aims if few else rows.T @ aims).astype(np.float64)
    diagonal = products.diagonal().copy()
    for alpha in alphas:
        np.fill_diagonal(products, diagonal + alpha)
        found = solve(products, right, assume_a="pos").astype(np.float32)
        weight = rows.T @ found if few else found
        bias = np.float32(mean) - centre @ weight
        yield LinearMap(weight[:, None], np.array([bias], dtype=np.float32))


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
