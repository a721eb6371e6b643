"""What a linear head reads from a representation: logistic regression on the same rows for all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.training.datasets import SPLITS
from models.training.encoder.embedder import Floats
from models.training.encoder.suite import TaskData, choose_shots
from models.training.logistic import LinearMap, fit_path

STRENGTHS = {
    "bits": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "floats": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "words": (0.3, 1.0, 3.0, 10.0, 30.0),
}
Features: TypeAlias = Floats | csr_matrix
Answer = Callable[[Any], NDArray[np.int64]]  # features to class indexes
Score = dict[str, float]  # mean test accuracies in percent, of `floats` and of `bits`


@dataclass(frozen=True, slots=True)
class Form:
    """The rows of one task in one representation; `kind` is a key of `STRENGTHS`."""

    kind: str
    train: Features
    validation: Features
    test: Features


def accuracy(form: Form, targets: dict[Any, NDArray[np.int64]], rows: NDArray[np.int64]) -> float:
    """Test accuracy in percent of the regression whose strength does best on validation rows.

    Args:
        form: the representation.
        targets: class indexes by split.
        rows: training rows to use. Who has few has no more of them to choose the strength by.
    """
    held = np.arange(min(len(targets["validation"]), len(rows)))
    wanted = targets["train"][rows]
    fit = _fit_words if form.kind == "words" else _fit_dense
    best: tuple[float, Answer] | None = None
    for answer in fit(form.train[rows], wanted, STRENGTHS[form.kind]):
        score = float((answer(form.validation[held]) == targets["validation"][held]).mean())
        if best is None or score > best[0]:
            best = score, answer
    assert best is not None
    return round(float((best[1](form.test) == targets["test"]).mean()) * 100, 3)


def few_shot_accuracy(
    form: Form, targets: dict[Any, NDArray[np.int64]], per_class: int, draws: int
) -> float:
    """Mean of `accuracy` over draws of at most so many rows a class, the same for every form."""
    scores = []
    for seed in range(draws):
        rows = choose_shots(targets["train"], per_class, np.random.default_rng(seed))
        scores.append(accuracy(form, targets, rows))
    return round(float(np.mean(scores)), 3)


def _fit_dense(
    x: Floats, targets: NDArray[np.int64], strengths: Sequence[float]
) -> Iterator[Answer]:
    """By the solver of the service's heads."""
    labels, columns = np.unique(targets, return_inverse=True)
    matrix = np.eye(len(labels), dtype=np.float32)[columns]
    for fitted in fit_path(np.ascontiguousarray(x), matrix, strengths, link="softmax"):
        yield partial(_label, labels, fitted)


def _label(labels: NDArray[np.int64], fitted: LinearMap, rows: Floats) -> NDArray[np.int64]:
    found: NDArray[np.int64] = labels[fitted(rows).argmax(axis=1)]
    return found


def _fit_words(
    x: csr_matrix, targets: NDArray[np.int64], strengths: Sequence[float]
) -> Iterator[Answer]:
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, targets)
        yield model.predict


def majority(train: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Of always giving the training rows' most frequent class."""
    return round(float((test == np.bincount(train).argmax()).mean()) * 100, 3)


def words_form(task: TaskData) -> Form:
    """TF-IDF of words and pairs of words."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer.fit(task.splits["train"].texts)
    parts = (vectorizer.transform(task.splits[split].texts) for split in SPLITS)
    return Form("words", *parts)


def floats_form(parts: Sequence[Floats]) -> Form:
    """Floats of train, validation and test; dimensions have unit variance on the training rows."""
    mean, deviation = parts[0].mean(axis=0), parts[0].std(axis=0) + 1e-6
    return Form("floats", *((part - mean) / deviation for part in parts))


def bits_form(parts: Sequence[Floats], thresholds: Floats | float) -> Form:
    """±1, as heads read codes: +1 above the threshold."""
    return Form(
        "bits", *(np.where(part > thresholds, 1.0, -1.0).astype(np.float32) for part in parts)
    )


def mean_scores(
    tasks: Iterable[tuple[Sequence[Floats], dict[Any, NDArray[np.int64]]]], thresholds: Floats
) -> Score:
    """Mean accuracies over tasks, from floats and from their bits.

    Args:
        tasks: floats of train, validation and test, and class indexes by split, of each.
        thresholds: where the floats are cut.
    """
    scores = [
        (
            accuracy(floats_form(parts), targets, np.arange(len(targets["train"]))),
            accuracy(bits_form(parts, thresholds), targets, np.arange(len(targets["train"]))),
        )
        for parts, targets in tasks
    ]
    floats, bits = np.mean(scores, axis=0)
    return {"floats": round(float(floats), 3), "bits": round(float(bits), 3)}
