"""models.head_runtime against scikit-learn's own predictions on codes never trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from models.artifact import ArtifactError
from models.codes import Codes, unpack_signs
from models.head_runtime import (
    Head,
    HeadStack,
    LinearHead,
    MLPHead,
    TaskKind,
    exact_grid,
    fold_signs,
    head_from_tensors,
)
from models.training import logistic, mlp
from models.training.heads import train_head
from models.training.trained import TrainedHead

BITS, ROWS = 32, 90
ESTIMATORS = {"MLPClassifier": mlp, "MLPRegressor": mlp}


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The scikit-learn models that `train_head` fits, by class name; the last one is the head."""
    models: dict[str, list[Any]] = defaultdict(list)

    def spy(base: Any) -> Any:
        def fit(self: Any, *arguments: Any) -> Any:
            models[base.__name__].append(self)
            return base.fit(self, *arguments)

        return type(base.__name__, (base,), {"fit": fit})

    for name, module in ESTIMATORS.items():
        monkeypatch.setattr(module, name, spy(getattr(module, name)))
    return models


def targets_for(kind: TaskKind, codes: Codes, outputs: int) -> np.ndarray:
    """Noisy functions of the signs."""
    signs = unpack_signs(codes)
    noise = np.random.default_rng(1).normal(size=(len(codes), outputs))
    values = signs[:, : 3 * outputs].reshape(len(codes), 3, outputs).sum(axis=1) + noise
    if kind == "regression":
        return 5 * values[:, 0] + 100
    return values.argmax(axis=1) if kind == "single_label" else (values > 0).astype(np.int64)


CASES: dict[str, tuple[TaskKind, int, Any, str]] = {
    "logistic_binary": ("single_label", 2, "linear", ""),
    "logistic_multinomial": ("single_label", 4, "linear", ""),
    "one_vs_rest": ("multi_label", 3, "linear", ""),
    "ridge": ("regression", 1, "linear", ""),
    "mlp_binary": ("single_label", 2, "mlp", "MLPClassifier"),
    "mlp_multinomial": ("single_label", 4, "mlp", "MLPClassifier"),
    "mlp_multi_label": ("multi_label", 3, "mlp", "MLPClassifier"),
    "mlp_one_label": ("multi_label", 1, "mlp", "MLPClassifier"),
    "mlp_regression": ("regression", 1, "mlp", "MLPRegressor"),
}


def of_the_same_prior(trained: TrainedHead, codes: Codes, targets: np.ndarray) -> Any:
    """scikit-learn's linear model, under the prior that was chosen."""
    if "alpha" in trained.hyperparameters:
        scaled = (targets - targets.mean()) / targets.std()
        return Ridge(alpha=trained.hyperparameters["alpha"]).fit(unpack_signs(codes), scaled)
    return logistic_regression(trained, codes, targets)


def logistic_regression(trained: TrainedHead, codes: Codes, targets: np.ndarray) -> Any:
    """scikit-learn's own, under the prior that was chosen."""
    strength = trained.hyperparameters["C"]
    if targets.ndim == 1 and targets.max() == 1:
        strength *= 2  # one logit's weights in place of two opposite halves of it
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    if targets.ndim == 2:
        model = OneVsRestClassifier(model)
    return model.fit(unpack_signs(codes).astype(np.float64), targets)


def reference(model: Any, kind: TaskKind, signs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What scikit-learn answers."""
    if kind == "regression":  # trained on standardized targets
        return (model.predict(signs) * targets.std() + targets.mean())[:, None]
    probabilities = model.predict_proba(signs)
    return (
        probabilities[:, 1:] if kind == "multi_label" and targets.shape[1] == 1 else probabilities
    )


@pytest.mark.parametrize("case", CASES)
def test_scores_equal_scikit_learns(
    case: str,
    fitted: dict[str, list[Any]],
    random_codes: Callable[..., Codes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logistic, "GRADIENT", 1e-7)
    kind, outputs, head, estimator = CASES[case]
    codes, fresh = random_codes(ROWS, BITS), random_codes(50, BITS, seed=9)
    targets = targets_for(kind, codes, outputs)
    trained = train_head(codes, targets, kind=kind, outputs=outputs, head=head)
    # Before its temperature, which scikit-learn has not.
    scores = HeadStack([trained.uncalibrated or trained.head], [kind]).scores(fresh)
    model = fitted[estimator][-1] if estimator else of_the_same_prior(trained, codes, targets)
    expected = reference(model, kind, unpack_signs(fresh), targets)
    assert scores.dtype == np.float32
    close = {"rtol": 1e-4, "atol": 1e-5} if estimator else {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(scores, expected, **close)
    assert np.ptp(expected, axis=0).min() > 0.01  # not constants


def test_a_mixed_stack_equals_its_heads_alone(random_codes: Callable[..., Codes]) -> None:
    heads: list[Head] = []
    kinds: list[TaskKind] = []
    for kind, outputs, head, _ in CASES.values():
        codes = random_codes(ROWS, BITS, seed=len(heads))
        targets = targets_for(kind, codes, outputs)
        heads.append(train_head(codes, targets, kind=kind, outputs=outputs, head=head).head)
        kinds.append(kind)
    # An MLP first and last, linear heads between.
    order = np.random.default_rng(3).permutation(len(heads)).tolist()
    heads, kinds = [heads[i] for i in order], [kinds[i] for i in order]
    assert len({type(head) for head in heads}) == 2
    stack = HeadStack(heads, kinds)
    fresh = random_codes(40, BITS, seed=9)
    scores = stack.scores(fresh)
    starts, stops = zip(*sorted(stack.spans), strict=True)
    assert starts == (0, *stops[:-1])  # no gaps, nothing shared
    assert scores.shape == (40, sum(head.outputs for head in heads))
    for head, kind, (start, stop) in zip(heads, kinds, stack.spans, strict=True):
        alone = HeadStack([head], [kind]).scores(fresh)
        np.testing.assert_allclose(scores[:, start:stop], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("only", ["single_label", None])
def test_the_best_outputs_are_the_highest_scores(only: TaskKind | None) -> None:
    rng = np.random.default_rng(0)
    kinds: list[TaskKind] = ["single_label", "multi_label", "regression", "single_label"]
    kinds = [only or kind for kind in kinds]
    sizes = [1 if kind == "regression" else 2 + place for place, kind in enumerate(kinds)]
    heads: list[Head] = []
    for place, size in enumerate(sizes):
        linear = LinearHead(*(rng.normal(size=s).astype(np.float32) for s in ((8, size), size)))
        hidden = rng.normal(size=(BITS, 8)).astype(np.float32)
        mlp = MLPHead(hidden, np.zeros(8, np.float32), linear)
        wide = LinearHead(rng.normal(size=(BITS, size)).astype(np.float32), linear.bias)
        heads.append(mlp if place % 2 == 0 else wide)
    stack = HeadStack(heads, kinds)
    codes = rng.integers(0, 256, (30, BITS // 8), dtype=np.uint8)
    scores = stack.scores(codes)
    columns, best = stack.best(codes)
    assert columns.shape == best.shape == (30, 4)
    for place, (start, stop) in enumerate(stack.spans):
        assert np.array_equal(columns[:, place], start + scores[:, start:stop].argmax(axis=1))
        np.testing.assert_allclose(best[:, place], scores[:, start:stop].max(axis=1), rtol=1e-5)


def test_of_equal_outputs_the_first_is_best() -> None:
    head = LinearHead(np.zeros((8, 3), np.float32), np.array([0, 1, 1], np.float32))
    columns, scores = HeadStack([head, head], ["single_label"] * 2).best(np.zeros((2, 1), np.uint8))
    assert columns.tolist() == [[1, 4]] * 2
    assert np.allclose(scores, 1 / (2 + np.exp(-1)))


def test_spans_follow_the_given_order() -> None:
    def linear(outputs: int) -> LinearHead:
        return LinearHead(np.zeros((8, outputs), np.float32), np.zeros(outputs, np.float32))

    mlp = MLPHead(np.zeros((8, 8), np.float32), np.zeros(8, np.float32), linear(4))
    stack = HeadStack([linear(2), mlp, linear(3)], ["single_label"] * 3)
    assert stack.spans == [(0, 2), (5, 9), (2, 5)]


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
@pytest.mark.parametrize("scale", [1e4, 1e20, 1e30])
def test_extreme_logits_do_not_overflow(kind: TaskKind, scale: float) -> None:
    head = LinearHead(np.zeros((8, 3), np.float32), np.array([scale, -scale, 0], np.float32))
    with np.errstate(all="raise", under="ignore"):
        [scores] = HeadStack([head], [kind]).scores(np.zeros((1, 1), np.uint8))
    expected = {
        "single_label": softmax([scale, -scale, 0]),
        "multi_label": expit([scale, -scale, 0]),
        "regression": [scale, -scale, 0],
    }
    np.testing.assert_allclose(scores, expected[kind], rtol=1e-6, atol=1e-7)


def test_extreme_logits_of_one_head_do_not_reach_another() -> None:
    def constant(*bias: float) -> LinearHead:
        return LinearHead(np.zeros((8, len(bias)), np.float32), np.array(bias, np.float32))

    stack = HeadStack(
        [constant(1e30, 0), constant(1, 1), constant(-1e30), constant(7)],
        ["single_label", "single_label", "multi_label", "regression"],
    )
    [scores] = stack.scores(np.zeros((1, 1), np.uint8))
    assert scores.tolist() == [1, 0, 0.5, 0.5, 0, 7]


@given(st.integers(0, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_single_label_rows_are_probabilities(
    rows: int, width: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(width * 8, outputs)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    codes = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    scores = HeadStack([LinearHead(weight, bias)], ["single_label"]).scores(codes)
    expected = softmax(unpack_signs(codes).astype(np.float64) @ weight + bias, axis=1)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_stack_needs_heads_and_kinds() -> None:
    with pytest.raises(ValueError, match="0 heads"):
        HeadStack([], [])
    head = LinearHead(np.zeros((8, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="1 heads and 2 kinds"):
        HeadStack([head], ["regression", "regression"])


LINEAR = {"weight": np.ones((8, 2), np.float32), "bias": np.ones(2, np.float32)}
MLP = {
    "hidden_weight": np.ones((8, 3), np.float32),
    "hidden_bias": np.ones(3, np.float32),
    "weight": np.ones((3, 2), np.float32),
    "bias": np.ones(2, np.float32),
}


@pytest.mark.parametrize("tensors", [LINEAR, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_tensors_make_a_head(tensors: dict[str, Any], dtype: type) -> None:
    head = head_from_tensors({name: value.astype(dtype) for name, value in tensors.items()}, 8, 2)
    assert head.outputs == 2
    assert head.tensors().keys() == tensors.keys()
    assert all(value.dtype == np.float32 for value in head.tensors().values())


def test_a_head_round_trips_through_its_tensors() -> None:
    head = head_from_tensors(MLP, 8, 2)
    again = head_from_tensors(head.tensors(), 8, 2)
    for name, value in again.tensors().items():
        assert np.array_equal(value, MLP[name])


BAD_TENSORS: dict[str, dict[str, Any]] = {
    "none": {},
    "no_bias": {"weight": LINEAR["weight"]},
    "one_too_many": LINEAR | {"more": LINEAR["bias"]},
    "half_an_mlp": LINEAR | {"hidden_weight": MLP["hidden_weight"]},
    "weight_transposed": LINEAR | {"weight": np.ones((2, 8), np.float32)},
    "weight_of_other_bits": LINEAR | {"weight": np.ones((16, 2), np.float32)},
    "bias_too_long": LINEAR | {"bias": np.ones(3, np.float32)},
    "bias_as_a_row": LINEAR | {"bias": np.ones((1, 2), np.float32)},
    "bias_scalar": LINEAR | {"bias": np.float32(1).reshape(())},
    "empty": LINEAR | {"weight": np.ones((0, 2), np.float32)},
    "doubles": LINEAR | {"weight": np.ones((8, 2))},
    "integers": LINEAR | {"bias": np.ones(2, np.int64)},
    "nan": LINEAR | {"bias": np.array([0, np.nan], np.float32)},
    "infinite": LINEAR | {"weight": np.full((8, 2), -np.inf, np.float16)},
    "hidden_bias_square": MLP | {"hidden_bias": np.ones((3, 1), np.float32)},
    "hidden_of_other_bits": MLP | {"hidden_weight": np.ones((16, 3), np.float32)},
    "hidden_widths_differ": MLP | {"weight": np.ones((4, 2), np.float32)},
    "hidden_nan": MLP | {"hidden_weight": np.full((8, 3), np.nan, np.float32)},
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_bad_tensors_are_refused(case: str) -> None:
    with pytest.raises(ArtifactError):
        head_from_tensors(BAD_TENSORS[case], 8, 2)


class TestExactness:
    """Answers do not depend on how many rows share a product, to the last bit."""

    @pytest.mark.parametrize("outputs", [2, 7, 45, 300])
    def test_scores_are_the_same_in_any_batch(self, outputs: int) -> None:
        random = np.random.default_rng(outputs)
        bits = 512
        linear = LinearHead(
            random.normal(0, 0.1, (bits, outputs)).astype(np.float32),
            random.normal(0, 1, outputs).astype(np.float32),
        )
        mlp = MLPHead(
            random.normal(0, 0.1, (bits, 64)).astype(np.float32),
            random.normal(0, 1, 64).astype(np.float32),
            LinearHead(
                random.normal(0, 0.3, (64, outputs)).astype(np.float32),
                random.normal(0, 1, outputs).astype(np.float32),
            ),
        )
        stack = HeadStack([linear, mlp], ["single_label", "single_label"])
        codes = random.integers(0, 256, (64, bits // 8)).astype(np.uint8)
        alone = np.concatenate([stack.scores(codes[i : i + 1]) for i in range(64)])
        for size in (2, 3, 16, 33, 64):
            parts = [stack.scores(codes[i : i + size]) for i in range(0, 64, size)]
            np.testing.assert_array_equal(np.concatenate(parts), alone)

    def test_logits_equal_sums_in_doubles(self) -> None:
        random = np.random.default_rng(0)
        weight = random.normal(0, 0.1, (1536, 5)).astype(np.float32)
        bias = random.normal(0, 1, 5).astype(np.float32)
        folded_weight, folded_bias = fold_signs(weight, bias)
        bits = random.integers(0, 2, (100, 1536)).astype(np.float32)
        exact = bits.astype(np.float64) @ folded_weight.astype(np.float64) + folded_bias
        np.testing.assert_array_equal(bits @ folded_weight + folded_bias, exact)
        # and the grid is too fine to matter: within 1e-3 of the weights as they were trained
        signs = 2.0 * bits.astype(np.float64) - 1.0
        np.testing.assert_allclose(exact, signs @ weight + bias, atol=1e-3)

    def test_grid_is_a_power_of_two_that_leaves_room_for_the_bound(self) -> None:
        bound = np.array([0.0, 1e-30, 0.7, 50.0, 1e6])
        grid = exact_grid(bound)
        np.testing.assert_array_equal(np.log2(grid), np.round(np.log2(grid)))
        assert (bound / grid <= 2**23).all()
