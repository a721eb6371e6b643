"""models.training.calibration and .thresholds, against other computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, log_loss

from models.decision import coverage_at, coverage_table, right_answers
from models.training.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from models.training.thresholds import OWN_FROM, best_threshold, best_thresholds


def drawn(count: int, labels: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Outputs that are `sharpness` times too large, and labels drawn by the true ones."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(count, labels)) * 2
    powers = np.exp(logits)
    shares = powers / powers.sum(axis=1, keepdims=True)
    truth = np.array([random.choice(labels, p=row) for row in shares])
    targets = np.eye(labels, dtype=np.float32)[truth]
    return (logits * sharpness).astype(np.float32), targets


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 6.0])
def test_the_temperature_undoes_what_made_outputs_too_large(sharpness: float) -> None:
    logits, targets = drawn(4000, 3, sharpness)
    assert fit_temperature(logits, targets, "softmax") == pytest.approx(sharpness, rel=0.1)


def test_the_temperature_has_the_smallest_log_loss() -> None:
    logits, targets = drawn(800, 4, 3.0)
    found = fit_temperature(logits, targets, "softmax")
    truth = targets.argmax(axis=1)
    losses = {t: log_loss(truth, softmax(logits / t)) for t in (found, found * 1.1, found / 1.1)}
    assert min(losses, key=lambda t: losses[t]) == found


def test_the_temperature_of_several_labels() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(3000, 2)) * 2
    targets = (random.random((3000, 2)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    found = fit_temperature((logits * 5).astype(np.float32), targets, "logistic")
    assert found == pytest.approx(5.0, rel=0.1)


def test_a_few_right_answers_do_not_make_a_head_infinitely_sure() -> None:
    logits = np.array([[3, 0], [0, 3], [3, 0]], dtype=np.float32)
    targets = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    assert 0.3 < fit_temperature(logits, targets, "softmax") < 1.0
    assert 15 < fit_temperature(logits, targets, "softmax", expected=40.0) < 40


confidences = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(confidences)
def test_the_expected_calibration_error_is_its_definition(
    pairs: list[tuple[float, bool]],
) -> None:
    """Row by row, with no arrays: Guo et al. (2017), equation 3, over ten bins."""
    total = 0.0
    for number in range(10):
        inside = [p for p in pairs if min(int(p[0] * 10), 9) == number]
        if inside:
            sure = sum(p[0] for p in inside) / len(inside)
            right = sum(p[1] for p in inside) / len(inside)
            total += len(inside) / len(pairs) * abs(sure - right)
    diagram = reliability(
        np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=bool)
    )
    assert expected_calibration_error(diagram) == pytest.approx(total)
    assert sum(one["count"] for one in diagram) == len(pairs)
    assert all(one["from"] <= one["confidence"] + 1e-9 for one in diagram)
    assert all(one["confidence"] <= one["to"] + 1e-9 for one in diagram)


def test_the_diagram_is_scikit_learns_curve() -> None:
    random = np.random.default_rng(0)
    sure = random.random(500)
    right = random.random(500) < sure**2
    accuracy, confidence = calibration_curve(right, sure, n_bins=10)
    diagram = reliability(sure, right)
    assert [one["accuracy"] for one in diagram] == pytest.approx(accuracy.tolist())
    assert [one["confidence"] for one in diagram] == pytest.approx(confidence.tolist())


def test_no_answers_are_no_error() -> None:
    assert expected_calibration_error(reliability(np.zeros(0), np.zeros(0, bool))) == 0.0


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=1))
def test_no_threshold_has_a_higher_f1(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([p[0] for p in pairs], dtype=np.float32)
    truth = np.array([p[1] for p in pairs], dtype=np.int64)
    found = best_threshold(scores, truth)
    assert 0 <= found <= 1
    if not truth.any():
        assert found == 0.5
        return
    f1 = {
        cut: f1_score(truth, scores > cut, zero_division=0)
        for cut in (found, 0.05, 0.15, 0.3, 0.6, 0.8)
    }
    assert f1[found] == pytest.approx(max(f1.values()))


def test_rare_labels_share_a_threshold_and_very_few_rows_keep_the_half() -> None:
    random = np.random.default_rng(0)
    truth = (random.random((400, 3)) < [0.3, 0.01, 0.4]).astype(np.int64)
    truth[:OWN_FROM, 2] = 1
    scores = (0.2 * random.random((400, 3)) + 0.2 * truth).astype(np.float32)
    assert 0 < truth[:, 1].sum() < OWN_FROM
    found = best_thresholds(scores, truth)
    shared = best_threshold(scores.reshape(-1), truth.reshape(-1))
    own = [best_threshold(scores[:, label], truth[:, label]) for label in (0, 2)]
    assert found == (own[0], shared, own[1])
    few = scores[:5], truth[:5] * 0 + np.eye(5, 3, dtype=np.int64)
    assert best_thresholds(*few) == (0.5, 0.5, 0.5)


def test_right_answers() -> None:
    scores = np.array([[0.6, 0.4], [0.2, 0.8]], dtype=np.float32)
    assert right_answers(scores, np.array([0, 0]), "single_label").tolist() == [True, False]
    several = np.array([[1, 0], [0, 1]])
    assert right_answers(scores, several, "multi_label").tolist() == [True, True]
    lower = right_answers(scores, several, "multi_label", (0.1, 0.5))
    assert lower.tolist() == [True, False]


def test_coverage_and_the_accuracy_at_it() -> None:
    sure = np.array([0.9, 0.7, 0.7, 0.4])
    right = np.array([True, True, False, False])
    assert coverage_at(sure, right, 0.7) == {
        "min_confidence": 0.7,
        "coverage": 0.75,
        "accuracy": pytest.approx(2 / 3),
    }
    nothing = coverage_at(sure, right, 0.95)
    assert (nothing["coverage"], nothing["accuracy"]) == (0.0, None)
    table = coverage_table(sure, right)
    assert (table[0]["coverage"], table[0]["accuracy"]) == (1.0, 0.5)
    shares = [row["coverage"] for row in table]
    assert shares == sorted(shares, reverse=True)
