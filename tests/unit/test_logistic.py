"""models.training.logistic and .prototype, against scikit-learn and plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from models.codes import Codes, Floats, unpack_signs
from models.training import logistic as module
from models.training.logistic import (
    LinearMap,
    Link,
    balanced_weights,
    fit_path,
    losses_of,
)
from models.training.prototype import class_means

Make = Callable[..., Codes]


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the optimiser to its end: what is compared is the solution, not where it stops."""
    monkeypatch.setattr(module, "GRADIENT", 1e-7)
    monkeypatch.setattr(module, "MAX_ITERATIONS", 5_000)


def rows(make: Make, count: int, labels: int, bits: int = 32) -> tuple[Floats, Floats]:
    """Signs, and noisy labels of their first bits as columns of 0 and 1, uneven ones."""
    signs = unpack_signs(make(count, bits))
    noise = np.random.default_rng(1).normal(size=(count, labels))
    scores = signs[:, :labels] + noise - np.arange(labels) * 0.4
    return signs, np.eye(labels, dtype=np.float32)[scores.argmax(axis=1)]


def reference(x: Floats, y: np.ndarray, strength: float, weight: str | None) -> LogisticRegression:
    model = LogisticRegression(C=strength, class_weight=weight, tol=1e-8, max_iter=10_000)
    return model.fit(x.astype(np.float64), y)


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize(("count", "bits"), [(200, 32), (14, 64)], ids=["many rows", "few rows"])
def test_softmax_is_scikit_learns(
    random_codes: Make, count: int, bits: int, weight: str | None
) -> None:
    x, targets = rows(random_codes, count, 4, bits)
    weights = balanced_weights(targets, "softmax") if weight else None
    [found] = fit_path(x, targets, [0.1], link="softmax", weights=weights)
    expected = reference(x, targets.argmax(axis=1), 0.1, weight)
    fresh = unpack_signs(random_codes(50, bits, seed=9))
    ours, theirs = found(fresh), expected.decision_function(fresh)
    np.testing.assert_allclose(found.weight, expected.coef_.T, atol=2e-3)
    # A shift of all biases changes no probability: they are compared about their mean.
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True),
        theirs - theirs.mean(axis=1, keepdims=True),
        atol=1e-2,
    )


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_logistic_columns_are_scikit_learns_one_by_one(
    random_codes: Make, weight: str | None
) -> None:
    x, targets = rows(random_codes, 150, 3)
    targets[:40, 0] = 1.0  # several labels a row
    weights = balanced_weights(targets, "logistic") if weight else None
    [found] = fit_path(x, targets, [0.1], link="logistic", weights=weights)
    for column in range(3):
        expected = reference(x, targets[:, column], 0.1, weight)
        np.testing.assert_allclose(found.weight[:, column], expected.coef_[0], atol=2e-3)
        assert found.bias[column] == pytest.approx(expected.intercept_[0], abs=5e-3)


@pytest.mark.usefixtures("tight")
def test_a_path_comes_to_the_solutions_of_each_strength_alone(random_codes: Make) -> None:
    x, targets = rows(random_codes, 100, 3)
    strengths = (0.001, 0.03, 1.0)
    for strength, found in zip(
        strengths, fit_path(x, targets, strengths, link="softmax"), strict=True
    ):
        [alone] = fit_path(x, targets, [strength], link="softmax")
        np.testing.assert_allclose(found(x), alone(x), atol=5e-3)


@pytest.mark.parametrize("link", ["softmax", "logistic"])
def test_the_gradient_is_that_of_the_loss(random_codes: Make, link: Link) -> None:
    x, targets = rows(random_codes, 12, 3, bits=8)
    problem = module._Problem(
        x.astype(np.float64), targets.astype(np.float64), link, balanced_weights(targets, link)
    )
    # In doubles throughout, or finite differences would show nothing but rounding.
    problem._share = problem._share.astype(np.float64)
    point = np.random.default_rng(0).normal(size=27)

    def loss(at: np.ndarray) -> float:
        weight, bias = problem.split(at)
        losses = losses_of(problem._x @ weight + bias, problem._targets, link)
        return float((losses * problem._share).sum() + 0.15 * (weight**2).sum())

    def gradient(at: np.ndarray) -> np.ndarray:
        return problem.loss_and_gradient(at, 0.3)[1]

    assert check_grad(loss, gradient, point) < 1e-4
    assert problem.loss_and_gradient(point, 0.3)[0] == pytest.approx(loss(point), rel=1e-5)


@pytest.mark.parametrize("link", ["softmax", "logistic"])
def test_losses_are_negative_log_likelihoods(link: Link) -> None:
    logits = np.array([[2.0, -1.0, 40.0], [0.0, 0.0, -90.0]], dtype=np.float32)
    targets = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    doubles = logits.astype(np.float64)
    if link == "softmax":
        shares = np.exp(doubles) / np.exp(doubles).sum(axis=1, keepdims=True)
        expected = -np.log(shares[targets == 1])[:, None]
    else:
        expected = -np.where(targets == 1, log_expit(doubles), log_expit(-doubles))
    before = logits.copy()
    np.testing.assert_allclose(losses_of(logits, targets, link), expected, rtol=1e-5)
    assert (logits == before).all()


def test_an_optimiser_that_stops_early_says_so(
    monkeypatch: pytest.MonkeyPatch, random_codes: Make
) -> None:
    x, targets = rows(random_codes, 60, 3)
    assert all(one.converged for one in fit_path(x, targets, [0.001, 1.0], link="softmax"))
    monkeypatch.setattr(module, "MAX_ITERATIONS", 1)
    [found] = fit_path(x, targets, [1.0], link="softmax")
    assert not found.converged


def test_a_temperature_divides_the_outputs() -> None:
    one = LinearMap(np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32))
    x = np.array([[1.0, -3.0]], dtype=np.float32)
    np.testing.assert_allclose(one.over(4.0)(x), one(x) / 4.0)


@pytest.mark.parametrize("labels", [2, 5])
def test_class_means_answer_as_the_nearest_centroid(random_codes: Make, labels: int) -> None:
    x, targets = rows(random_codes, 80, labels)
    fresh = unpack_signs(random_codes(200, 32, seed=3))
    expected = NearestCentroid().fit(x, targets.argmax(axis=1)).predict(fresh)
    assert (class_means(x, targets, "softmax")(fresh).argmax(axis=1) == expected).all()


def test_class_means_of_several_labels_ask_which_mean_is_nearer(random_codes: Make) -> None:
    x, targets = rows(random_codes, 80, 3)
    fresh = unpack_signs(random_codes(200, 32, seed=3))
    outputs = class_means(x, targets, "logistic")(fresh)
    for column in range(3):
        expected = NearestCentroid().fit(x, targets[:, column]).predict(fresh)
        assert ((outputs[:, column] > 0) == expected).all()
