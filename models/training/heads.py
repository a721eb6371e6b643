"""Training a head on codes, with scikit-learn. Seconds, not minutes: codes are small."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor

from models.codes import Codes, unpack_signs
from models.head_runtime import ClassWeight, Head, HeadKind, LinearHead, MLPHead, TaskKind

# Inverse regularisation strengths tried on held-back training rows; a code has many
# interchangeable bits, so the useful ones lie far under scikit-learn's default of 1.
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03)
SEARCH_ROWS = 8_000
HIDDEN_UNITS = 128
EARLY_STOPPING_ROWS = 2_000
EARLY_STOPPING_SMALLEST = 20  # two of each class in the tenth that is held back
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head and how it was chosen."""

    head: Head
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def train_head(
    codes: Codes,
    targets: NDArray[Any],
    *,
    kind: TaskKind,
    outputs: int,
    head: HeadKind = "linear",
    class_weight: ClassWeight = None,
    seed: int = 0,
) -> TrainedHead:
    """Train one head.

    Args:
        codes: `(n, bits // 8)` uint8.
        targets: `(n,)` class indexes for single label, `(n, outputs)` of 0 and 1 for multi label,
            `(n,)` floats for regression.
        kind: the task's kind.
        outputs: number of labels (1 for regression).
        head: `linear` or `mlp`.
        class_weight: `balanced` weighs classes by inverse frequency (linear classifiers only).
        seed: of every random choice.

    Returns:
        The head, over signs (see `models.head_runtime`).

    Raises:
        ValueError: fewer than two classes among the rows, or an unusable combination.
    """
    if len(codes) != len(targets):
        raise ValueError(f"{len(codes)} codes and {len(targets)} targets")
    if class_weight and (head == "mlp" or kind == "regression"):
        raise ValueError("class_weight is for linear classifiers")
    signs = unpack_signs(codes)
    if kind == "regression":
        return _regression(signs, targets, head, seed)
    if kind == "single_label":
        present = np.unique(targets)
        if len(present) < 2:
            raise ValueError("training needs examples of at least two labels")
        if head == "mlp":
            return _mlp_classifier(signs, targets, present, outputs, seed)
        return _linear_classifier(signs, targets, present, outputs, class_weight, seed)
    if not targets.any() or targets.all():
        raise ValueError("training needs both present and absent labels")
    if head == "mlp":
        return _mlp_multi_label(signs, targets, outputs, seed)
    return _linear_multi_label(signs, targets, outputs, class_weight, seed)


def _linear_classifier(
    signs: Floats,
    targets: NDArray[Any],
    present: NDArray[Any],
    outputs: int,
    class_weight: ClassWeight,
    seed: int,
) -> TrainedHead:
    def fit(x: Floats, y: NDArray[Any], strength: float) -> LogisticRegression:
        model = LogisticRegression(
            C=strength, class_weight=class_weight, max_iter=300, tol=1e-3, random_state=seed
        )
        return model.fit(x, y)

    strength = _choose_strength(
        signs, targets, fit, lambda model, x, y: float(model.score(x, y)), seed, stratify=True
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = fit(signs, targets, strength)
    unfinished = any(issubclass(one.category, ConvergenceWarning) for one in caught)
    weight, bias = _spread_classes(model.coef_.T, model.intercept_, present, outputs)
    return TrainedHead(
        LinearHead(weight, bias),
        {"C": strength, "iterations": int(np.max(model.n_iter_))},
        ["the optimiser stopped before it converged"] if unfinished else [],
    )


def _mlp_classifier(
    signs: Floats, targets: NDArray[Any], present: NDArray[Any], outputs: int, seed: int
) -> TrainedHead:
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    model = _mlp(MLPClassifier, len(targets), seed, smallest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(signs, targets)
    weight, bias = _spread_classes(model.coefs_[1], model.intercepts_[1], present, outputs)
    return _mlp_head(model, LinearHead(weight, bias))


def _linear_multi_label(
    signs: Floats, targets: NDArray[Any], outputs: int, class_weight: ClassWeight, seed: int
) -> TrainedHead:
    def fit(x: Floats, y: NDArray[Any], strength: float) -> OneVsRestClassifier:
        base = LogisticRegression(
            C=strength, class_weight=class_weight, max_iter=300, tol=1e-3, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Label .* is present in all", append=False)
            return OneVsRestClassifier(base).fit(x, y)

    def score(model: OneVsRestClassifier, x: Floats, y: NDArray[Any]) -> float:
        return float(np.mean(model.predict(x).reshape(y.shape) == y))

    strength = _choose_strength(signs, targets, fit, score, seed, stratify=False)
    model = fit(signs, targets, strength)
    weight = np.zeros((signs.shape[1], outputs), dtype=np.float32)
    bias = np.zeros(outputs, dtype=np.float32)
    for column, estimator in enumerate(model.estimators_):
        if isinstance(estimator, LogisticRegression):
            weight[:, column], bias[column] = estimator.coef_[0], estimator.intercept_[0]
        else:  # a label that all rows or none have: a constant, far from the threshold
            bias[column] = 8.0 if targets[0, column] else -8.0
    return TrainedHead(LinearHead(weight, bias), {"C": strength})


def _mlp_multi_label(signs: Floats, targets: NDArray[Any], outputs: int, seed: int) -> TrainedHead:
    model = _mlp(MLPClassifier, len(targets), seed)
    # scikit-learn takes a single column of labels as a plain binary target.
    model.fit(signs, targets if outputs > 1 else targets[:, 0])
    output = LinearHead(_float32(model.coefs_[1]), _float32(model.intercepts_[1]))
    return _mlp_head(model, output)


def _regression(signs: Floats, targets: NDArray[Any], head: HeadKind, seed: int) -> TrainedHead:
    centre, spread = float(np.mean(targets)), float(np.std(targets)) or 1.0
    scaled = (targets - centre) / spread
    if head == "mlp":
        model = _mlp(MLPRegressor, len(targets), seed)
        model.fit(signs, scaled)
        weight, bias = model.coefs_[1] * spread, model.intercepts_[1] * spread + centre
        return _mlp_head(model, LinearHead(_float32(weight), _float32(bias)))

    def fit(x: Floats, y: NDArray[Any], strength: float) -> Ridge:
        return Ridge(alpha=1.0 / strength, random_state=seed).fit(x, y)

    strength = _choose_strength(
        signs, scaled, fit, lambda model, x, y: float(model.score(x, y)), seed, stratify=False
    )
    ridge = fit(signs, scaled, strength)
    weight = _float32(ridge.coef_.reshape(-1, 1) * spread)
    bias = _float32(np.array([ridge.intercept_ * spread + centre]))
    return TrainedHead(LinearHead(weight, bias), {"alpha": 1.0 / strength})


def _choose_strength(
    signs: Floats,
    targets: NDArray[Any],
    fit: Callable[[Floats, NDArray[Any], float], Any],
    score: Callable[[Any, Floats, NDArray[Any]], float],
    seed: int,
    *,
    stratify: bool,
) -> float:
    """The strength that scores best on a held-back fifth of (at most `SEARCH_ROWS`) rows."""
    rows = np.random.default_rng(seed).permutation(len(signs))[:SEARCH_ROWS]
    x, y = signs[rows], targets[rows]
    if len(rows) < 20:
        return STRENGTHS[len(STRENGTHS) // 2]
    smallest = int(np.unique(y, return_counts=True)[1].min()) if stratify else 0
    can_stratify = smallest >= 2 and len(np.unique(y)) <= len(rows) // 5
    fit_x, held_x, fit_y, held_y = train_test_split(
        x, y, test_size=0.2, random_state=seed, stratify=y if can_stratify else None
    )
    if stratify and len(np.unique(fit_y)) < 2:
        return STRENGTHS[len(STRENGTHS) // 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [score(fit(fit_x, fit_y, c), held_x, held_y) for c in STRENGTHS]
    return STRENGTHS[int(np.argmax(scores))]


def _spread_classes(
    weight: NDArray[Any], bias: NDArray[Any], present: Sequence[int] | NDArray[Any], outputs: int
) -> tuple[Floats, Floats]:
    """One softmax column a label, from what scikit-learn learned over the labels it saw.

    Two classes come as one logit: the second class's column gets it and the first's stays zero.
    A label without examples gets a bias that keeps its probability under any other's.
    """
    full_weight = np.zeros((weight.shape[0], outputs), dtype=np.float32)
    full_bias = np.full(outputs, -1e4, dtype=np.float32)
    if weight.shape[1] == 1 and len(present) == 2:
        full_bias[present[0]] = 0.0
        full_weight[:, present[1]], full_bias[present[1]] = weight[:, 0], bias[0]
    else:
        full_weight[:, present], full_bias[present] = weight, bias
    return full_weight, full_bias


def _mlp(estimator: type[Any], rows: int, seed: int, smallest: int = 0) -> Any:
    """An unfitted MLP. `smallest`: rows of the rarest class; stopping early holds some back."""
    return estimator(
        hidden_layer_sizes=(HIDDEN_UNITS,),
        alpha=1e-2,
        learning_rate_init=1e-3,
        # Small batches where there are few rows, or there are too few steps to learn anything.
        batch_size=min(rows, 256, max(16, rows // 32)),
        max_iter=60,
        early_stopping=rows >= EARLY_STOPPING_ROWS and smallest >= EARLY_STOPPING_SMALLEST,
        n_iter_no_change=5,
        random_state=seed,
    )


def _mlp_head(model: Any, output: LinearHead) -> TrainedHead:
    hidden_weight, hidden_bias = _float32(model.coefs_[0]), _float32(model.intercepts_[0])
    head = MLPHead(hidden_weight, hidden_bias, output)
    return TrainedHead(head, {"hidden": HIDDEN_UNITS, "epochs": int(model.n_iter_)})


def _float32(values: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)
