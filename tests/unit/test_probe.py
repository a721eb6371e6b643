"""What a linear head reads: against scikit-learn used by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.codes import pack_bits, unpack_signs
from models.training.encoder.probe import (
    STRENGTHS,
    Form,
    accuracy,
    bits_form,
    floats_form,
    majority,
    words_form,
)
from models.training.encoder.suite import Rows, TaskData


def planted(seed: int = 0) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Three splits of noisy points around a centre a class."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(3, 16))
    parts, targets = [], {}
    for split, count in (("train", 90), ("validation", 60), ("test", 300)):
        labels = chance.integers(3, size=count)
        noise = chance.normal(size=(count, 16)) * 1.5
        parts.append((centres[labels] + noise).astype(np.float32))
        targets[split] = labels
    return parts, targets


@pytest.mark.parametrize("rows", [np.arange(90), np.arange(0, 90, 3)])
def test_accuracy_is_that_of_the_strength_that_validates_best(rows: np.ndarray) -> None:
    parts, targets = planted()
    form = floats_form(parts)
    held = min(60, len(rows))
    scores = []
    for strength in STRENGTHS["floats"]:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        model.fit(form.train[rows], targets["train"][rows])
        validation = model.score(form.validation[:held], targets["validation"][:held])
        scores.append((validation, model.score(form.test, targets["test"])))
    best = max(range(len(scores)), key=lambda number: scores[number][0])
    found = accuracy(form, targets, rows)
    assert found == pytest.approx(scores[best][1] * 100, abs=1.0)  # three of 300 rows
    assert found > 60


def test_floats_are_scaled_by_the_training_rows() -> None:
    parts, _ = planted()
    scaler = StandardScaler().fit(parts[0])
    form = floats_form(parts)
    for part, scaled in zip(parts, (form.train, form.validation, form.test), strict=True):
        np.testing.assert_allclose(scaled, scaler.transform(part), atol=1e-4)


def test_bits_are_those_of_a_code() -> None:
    parts, _ = planted()
    thresholds = np.median(parts[0], axis=0)
    form = bits_form(parts, thresholds)
    for part, signs in zip(parts, (form.train, form.validation, form.test), strict=True):
        np.testing.assert_array_equal(signs, unpack_signs(pack_bits(part - thresholds)))


def test_majority() -> None:
    assert majority(np.array([0, 1, 1]), np.array([1, 0, 0, 0])) == 25.0


def test_words_are_learned_from_training_rows_alone() -> None:
    texts = {
        "train": ["good film"] * 20 + ["bad film"] * 20,
        "validation": ["good"],
        "test": ["so"],
    }
    rows = {split: Rows(some, np.zeros(len(some), dtype=np.int64)) for split, some in texts.items()}
    form = words_form(TaskData("films", ("a", "b"), rows))  # type: ignore[arg-type]
    assert isinstance(form, Form)
    assert form.train.shape == (40, 5)  # three words, two pairs
    assert form.test.nnz == 0  # type: ignore[union-attr]
