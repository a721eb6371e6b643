"""Logistic regression with an L2 prior over signs: softmax, or one logistic column a label.

Own rather than scikit-learn's, which it is tested against, for three things that a search over many
priors needs: all labels of a multi-label task in one product in place of a fit each, a path of
priors where each starts at the solution of the one before, and floats of 32 bits throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.codes import Floats

Link = Literal["softmax", "logistic"]
GRADIENT = 1e-3  # of the mean loss, where the optimiser stops; scikit-learn's `tol` of old
MAX_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class LinearMap:
    """`x @ weight + bias`: `weight` is `(width, outputs)`, `bias` `(outputs,)`."""

    weight: Floats
    bias: Floats
    converged: bool = True

    def __call__(self, x: Floats) -> Floats:
        logits: Floats = x @ self.weight + self.bias
        return logits

    def over(self, temperature: float) -> LinearMap:
        """The map whose outputs are this one's divided by `temperature`."""
        scale = np.float32(1.0 / temperature)
        return LinearMap(self.weight * scale, self.bias * scale, self.converged)


def fit_path(
    x: Floats,
    targets: Floats,
    strengths: Sequence[float],
    *,
    link: Link,
    weights: Floats | None = None,
) -> Iterator[LinearMap]:
    """Fit once a strength, each from the solution of the one before.

    Minimises `strength * sum(weights * loss) + ||weight||^2 / 2`, the bias free, by L-BFGS: with
    softmax the cross entropy, with logistic the sum of the labels' own. A strength is what
    scikit-learn calls C.

    Args:
        x: `(n, width)` float32 features.
        targets: `(n, outputs)` of 0 and 1; with softmax one 1 a row.
        strengths: inverse prior precisions, best in ascending order.
        link: what makes probabilities of the outputs.
        weights: of the rows, `(n, 1)`, or of each row's labels, `(n, outputs)`; None: all 1.

    Yields:
        A map over `x` a strength.
    """
    basis = _Basis.of(x)
    problem = _Problem(basis.rows, targets, link, weights)
    point = np.zeros((basis.rows.shape[1] + 1) * targets.shape[1])
    for strength in strengths:
        found = minimize(
            problem.loss_and_gradient,
            point,
            args=(1.0 / (strength * len(x)),),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "gtol": GRADIENT, "ftol": 0.0},
        )
        point = found.x
        yield basis.expand(*problem.split(point), converged=found.status == 0)


def losses_of(logits: Floats, targets: Floats, link: Link) -> Floats:
    """Negative log likelihoods: `(n, 1)` for softmax, `(n, outputs)` for logistic."""
    losses, _ = _LOSSES[link](logits.copy(), targets)
    return losses


def balanced_weights(targets: Floats, link: Link) -> Floats:
    """Weights under which all labels count alike: inverse to their frequency, 1 on the mean.

    Returns:
        `(n, 1)` for softmax; `(n, outputs)` for logistic, where a label's rows with and without
        it count alike.
    """
    counts = np.maximum(targets.sum(axis=0), 1.0)
    if link == "softmax":
        weights: Floats = (targets @ (len(targets) / (len(counts) * counts)))[:, None]
        return weights.astype(np.float32)
    without = np.maximum(len(targets) - counts, 1.0)
    rows = np.float32(len(targets) / 2)
    halves: Floats = np.where(targets > 0, rows / counts, rows / without)
    return halves


@dataclass(frozen=True, slots=True)
class _Basis:
    """Rows about their mean, in fewer coordinates where there are few of them.

    The solution lies in the span of the rows about their mean, and the penalty does not change
    under rotation: so a few rows are as well fitted in an orthonormal basis of that span.
    """

    rows: Floats
    centre: Floats
    directions: Floats | None

    @classmethod
    def of(cls, x: Floats) -> _Basis:
        centre = x.mean(axis=0)
        centred = x - centre
        if 2 * len(x) > x.shape[1]:
            return cls(centred, centre, None)
        left, sizes, directions = np.linalg.svd(centred, full_matrices=False)
        kept = sizes > 1e-5 * max(1.0, float(sizes.max(initial=0.0)))
        coordinates = (left * sizes)[:, kept].astype(np.float32)
        return cls(coordinates, centre, directions[kept].astype(np.float32))

    def expand(self, weight: NDArray[Any], bias: NDArray[Any], *, converged: bool) -> LinearMap:
        if self.directions is not None:
            weight = self.directions.T @ weight
        shifted = bias - self.centre @ weight
        return LinearMap(weight.astype(np.float32), shifted.astype(np.float32), converged)


class _Problem:
    """Loss and gradient at a flat point: the weights, then the biases."""

    def __init__(self, x: Floats, targets: Floats, link: Link, weights: Floats | None) -> None:
        self._x, self._targets, self._link = x, targets, link
        self._share: Any = np.float32(1.0 / len(x))
        if weights is not None:
            self._share = weights * self._share

    def split(self, point: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        width, outputs = self._x.shape[1], self._targets.shape[1]
        return point[: width * outputs].reshape(width, outputs), point[width * outputs :]

    def loss_and_gradient(
        self, point: NDArray[np.float64], decay: float
    ) -> tuple[float, NDArray[np.float64]]:
        weight, bias = self.split(point)
        logits = self._x @ weight.astype(np.float32) + bias.astype(np.float32)
        losses, residuals = _LOSSES[self._link](logits, self._targets)
        residuals *= self._share
        gradient = np.empty_like(point)
        into_weight, into_bias = self.split(gradient)
        into_weight[:] = self._x.T @ residuals
        into_weight += decay * weight
        into_bias[:] = residuals.sum(axis=0)
        loss = float((losses * self._share).sum(dtype=np.float64))
        return loss + 0.5 * decay * float(np.vdot(weight, weight)), gradient


def _softmax_loss(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    sums = powers.sum(axis=1, keepdims=True)
    losses: Floats = np.log(sums) - (logits * targets).sum(axis=1, keepdims=True)
    return losses, powers / sums - targets


def _logistic_loss(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    losses: Floats = np.logaddexp(0, logits) - logits * targets
    return losses, 0.5 * (1.0 + np.tanh(0.5 * logits)) - targets


_LOSSES: dict[Link, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "softmax": _softmax_loss,
    "logistic": _logistic_loss,
}
