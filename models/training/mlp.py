"""One hidden layer over signs, by scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from models.codes import Floats
from models.training.logistic import LinearMap, Link

HIDDEN_UNITS = 128
EARLY_STOPPING_ROWS = 2_000
EARLY_STOPPING_SMALLEST = 20  # two of each class in the tenth that is held back


@dataclass(frozen=True, slots=True)
class MLPMap:
    """A hidden ReLU layer and a map over it."""

    hidden_weight: Floats
    hidden_bias: Floats
    output: LinearMap

    @property
    def converged(self) -> bool:
        """An MLP stops where its epochs end: there is nothing to warn of."""
        return True

    def __call__(self, x: Floats) -> Floats:
        return self.output(np.maximum(x @ self.hidden_weight + self.hidden_bias, 0.0))

    def over(self, temperature: float) -> MLPMap:
        """The map whose outputs are this one's divided by `temperature`."""
        return replace(self, output=self.output.over(temperature))


def fit_mlp(x: Floats, targets: Floats, link: Link, seed: int) -> MLPMap:
    """A classifier.

    Args:
        x: `(n, width)` signs.
        targets: `(n, outputs)` of 0 and 1; with softmax one 1 a row, and every label has a row.
        link: what makes probabilities of the outputs.
        seed: of every random choice.
    """
    smallest = 0
    truth: NDArray[Any] = targets.astype(np.int64)
    if link == "softmax":
        smallest = int(truth.sum(axis=0).min())
        truth = truth.argmax(axis=1)
    elif truth.shape[1] == 1:
        truth = truth[:, 0]  # scikit-learn takes a single column as a plain binary target
    fitted = _fit(MLPClassifier, x, truth, seed, smallest)
    if link == "softmax" and targets.shape[1] == 2:
        # scikit-learn learns one logit for two classes: that of the second.
        weight = np.column_stack([np.zeros_like(fitted.output.weight), fitted.output.weight])
        bias = np.concatenate([np.zeros(1, np.float32), fitted.output.bias])
        return replace(fitted, output=LinearMap(weight, bias))
    return fitted


def fit_mlp_regression(x: Floats, targets: NDArray[np.float64], seed: int) -> MLPMap:
    """A regression; `targets` are `(n,)`, best about zero and of spread one."""
    return _fit(MLPRegressor, x, targets, seed, 0)


def _fit(
    estimator: type[Any], x: Floats, targets: NDArray[Any], seed: int, smallest: int
) -> MLPMap:
    rows = len(x)
    model = estimator(
        hidden_layer_sizes=(HIDDEN_UNITS,),
        alpha=1e-2,
        learning_rate_init=1e-3,
        # Small batches where there are few rows, or there are too few steps to learn anything.
        batch_size=min(rows, 256, max(16, rows // 32)),
        max_iter=60,
        # Where the rarest class has rows to hold back too.
        early_stopping=rows >= EARLY_STOPPING_ROWS and smallest >= EARLY_STOPPING_SMALLEST,
        n_iter_no_change=5,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, targets)
    hidden, output = (
        [np.ascontiguousarray(values, dtype=np.float32) for values in layers]
        for layers in (model.coefs_, model.intercepts_)
    )
    return MLPMap(hidden[0], output[0], LinearMap(hidden[1], output[1]))
