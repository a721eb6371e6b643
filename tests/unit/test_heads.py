"""models.training.heads: what is learned, chosen and calibrated, on planted rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.neighbors import NearestCentroid

from models.codes import Codes, unpack_bits, unpack_signs
from models.head_runtime import HeadKind, HeadStack, MLPHead, TaskKind
from models.training import families
from models.training.heads import FEW_ROWS, train_head
from models.training.thresholds import best_thresholds

HEADS: tuple[HeadKind, ...] = ("linear", "mlp")
# Rows from which each head can learn a rule of a few bits out of 32.
ENOUGH: dict[HeadKind, int] = {"linear": 300, "mlp": 3000}
CLASS_MEANS = {"method": "class_means"}


def bits_of(codes: Codes, *places: int) -> np.ndarray:
    return unpack_bits(codes)[:, places].astype(np.int64)


def predict(codes: Codes, head: Any, kind: TaskKind) -> np.ndarray:
    scores = HeadStack([head], [kind]).scores(codes)
    if kind == "regression":
        return scores[:, 0]
    return scores.argmax(axis=1) if kind == "single_label" else (scores > 0.5).astype(np.int64)


class TestTrainHead:
    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize("bit_count", [1, 2])
    def test_learns_a_planted_single_label_rule(
        self, random_codes: Callable[..., Codes], head: HeadKind, bit_count: int
    ) -> None:
        codes, fresh = random_codes(ENOUGH[head], 32), random_codes(200, 32, seed=1)

        def rule(some: Codes) -> np.ndarray:
            return bits_of(some, *range(3, 3 + bit_count)) @ (1 << np.arange(bit_count))

        outputs = 2**bit_count
        trained = train_head(codes, rule(codes), kind="single_label", outputs=outputs, head=head)
        assert trained.head.outputs == outputs
        assert np.mean(predict(fresh, trained.head, "single_label") == rule(fresh)) > 0.95

    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize("places", [(5,), (5, 0, 31)])
    def test_learns_a_planted_multi_label_rule(
        self, random_codes: Callable[..., Codes], head: HeadKind, places: tuple[int, ...]
    ) -> None:
        codes, fresh = random_codes(ENOUGH[head], 32), random_codes(200, 32, seed=1)
        trained = train_head(
            codes, bits_of(codes, *places), kind="multi_label", outputs=len(places), head=head
        )
        answers = predict(fresh, trained.head, "multi_label")
        assert np.mean(answers == bits_of(fresh, *places)) > 0.95

    @pytest.mark.parametrize("head", HEADS)
    def test_learns_a_planted_regression_rule(
        self, random_codes: Callable[..., Codes], head: HeadKind
    ) -> None:
        codes, fresh = random_codes(ENOUGH[head], 32), random_codes(200, 32, seed=1)

        def rule(some: Codes) -> np.ndarray:
            return 1000 + 50.0 * (bits_of(some, 1, 2, 3) @ [1, 2, -3])

        trained = train_head(codes, rule(codes), kind="regression", outputs=1, head=head)
        values = predict(fresh, trained.head, "regression")
        assert metrics.r2_score(rule(fresh), values) > 0.9

    @pytest.mark.parametrize("head", HEADS)
    @pytest.mark.parametrize("present", [(0, 2), (1, 3, 4)])
    def test_labels_without_examples_never_win(
        self, random_codes: Callable[..., Codes], head: HeadKind, present: tuple[int, ...]
    ) -> None:
        codes = random_codes(60, 32)
        targets = np.array(present)[np.arange(60) % len(present)]
        trained = train_head(codes, targets, kind="single_label", outputs=6, head=head)
        scores = HeadStack([trained.head], ["single_label"]).scores(random_codes(500, 32, seed=1))
        absent = [label for label in range(6) if label not in present]
        assert scores.shape == (500, 6)
        assert scores[:, absent].max() < scores[:, list(present)].min()
        assert set(scores.argmax(axis=1)) <= set(present)

    def test_labels_that_all_or_no_rows_have_are_constants(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(60, 32)
        targets = np.column_stack([np.ones(60), np.zeros(60), bits_of(codes, 0)]).astype(int)
        trained = train_head(codes, targets, kind="multi_label", outputs=3)
        answers = predict(random_codes(99, 32, seed=1), trained.head, "multi_label")
        assert answers[:, 0].all()
        assert not answers[:, 1].any()

    def test_equal_targets_of_a_regression_are_given_back(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        trained = train_head(random_codes(30), np.full(30, 7.5), kind="regression", outputs=1)
        values = predict(random_codes(9, seed=1), trained.head, "regression")
        assert values == pytest.approx(7.5)

    def test_balanced_weights_help_the_rare_class(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(400, 32)
        noisy = bits_of(codes, *range(8)).sum(axis=1) + np.random.default_rng(0).normal(size=400)
        targets = (noisy > np.quantile(noisy, 0.9)).astype(np.int64)
        plain, balanced = (
            train_head(codes, targets, kind="single_label", outputs=2, class_weight=weight).head
            for weight in (None, "balanced")
        )
        rare = [predict(codes, head, "single_label").sum() for head in (plain, balanced)]
        assert rare[1] > rare[0]

    def test_the_same_seed_gives_the_same_head(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(60, 32)
        targets = bits_of(codes, 0, 1) @ [1, 2]
        for head in HEADS:
            one, same, other = (
                train_head(
                    codes, targets, kind="single_label", outputs=4, head=head, seed=seed
                ).head.tensors()
                for seed in (1, 1, 2)
            )
            assert all(np.array_equal(one[name], same[name]) for name in one)
        assert not np.array_equal(one["weight"], other["weight"])

    @pytest.mark.parametrize(
        ("kind", "outputs"), [("single_label", 2), ("multi_label", 1), ("multi_label", 2)]
    )
    def test_the_strength_is_the_one_that_scores_best_on_held_back_rows(
        self,
        monkeypatch: pytest.MonkeyPatch,
        random_codes: Callable[..., Codes],
        kind: TaskKind,
        outputs: int,
    ) -> None:
        codes = random_codes(200, 32)
        # A label of every fourth row: the tiny strengths learn no more than that it is rare.
        targets = bits_of(codes, *range(outputs)) & bits_of(codes, *range(8, 8 + outputs))
        if kind == "single_label":
            targets = targets[:, 0]
        monkeypatch.setattr(families, "STRENGTHS", (1e-8, 1e-7, 1e-6, 0.1))
        trained = train_head(codes, targets, kind=kind, outputs=outputs, head="linear")
        assert trained.hyperparameters["C"] == 0.1

    @pytest.mark.parametrize("head", ["linear", "prototype"])
    def test_a_single_row_a_label_takes_the_fallback(
        self, random_codes: Callable[..., Codes], head: HeadKind
    ) -> None:
        trained = train_head(
            random_codes(5), np.arange(5), kind="single_label", outputs=5, head=head
        )
        expected = {"linear": {"method": "logistic", "C": 0.003}, "prototype": CLASS_MEANS}[head]
        assert trained.hyperparameters == expected | {"cross_validated_rows": 0}
        assert trained.cross_fitted is None
        assert (predict(random_codes(5), trained.head, "single_label") == np.arange(5)).all()

    @pytest.mark.parametrize(
        ("rows", "kind"), [(2 * FEW_ROWS - 1, "prototype"), (2 * FEW_ROWS, "linear")]
    )
    def test_auto_goes_by_the_rows_a_label(
        self, random_codes: Callable[..., Codes], rows: int, kind: HeadKind
    ) -> None:
        codes, targets = random_codes(rows), np.arange(rows) % 2
        # The third label has no rows and does not count.
        trained = train_head(codes, targets, kind="single_label", outputs=3)
        assert trained.kind == kind

    def test_prototypes_of_few_rows_are_class_means(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes, targets = random_codes(12, 32), np.arange(12) % 3
        trained = train_head(codes, targets, kind="single_label", outputs=3, head="prototype")
        assert trained.hyperparameters == CLASS_MEANS | {"cross_validated_rows": 12}
        fresh = random_codes(300, 32, seed=1)
        nearest = NearestCentroid().fit(unpack_signs(codes), targets)
        answers = predict(fresh, trained.head, "single_label")
        assert (answers == nearest.predict(unpack_signs(fresh))).all()

    def test_prototypes_of_more_rows_may_be_a_regression(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(400, 32)
        # One bit among 31 that are noise: its weight must grow beyond what a mean gives it.
        targets = bits_of(codes, 0)[:, 0]
        trained = train_head(codes, targets, kind="single_label", outputs=2, head="prototype")
        assert trained.kind == "prototype"
        assert trained.hyperparameters["method"] == "logistic"

    @pytest.mark.parametrize("kind", ["single_label", "multi_label"])
    @pytest.mark.parametrize("head", HEADS)
    def test_the_temperature_is_folded_into_the_head(
        self, random_codes: Callable[..., Codes], kind: TaskKind, head: HeadKind
    ) -> None:
        codes = random_codes(90, 32)
        targets = bits_of(codes, 0, 1) if kind == "multi_label" else bits_of(codes, 0)[:, 0]
        trained = train_head(codes, targets, kind=kind, outputs=2, head=head)
        assert trained.uncalibrated is not None
        assert trained.temperature != 1.0
        raw, served = trained.uncalibrated, trained.head
        output = [one.output if isinstance(one, MLPHead) else one for one in (raw, served)]
        for name, before in output[0].tensors().items():
            after = output[1].tensors()[name]
            np.testing.assert_allclose(before / trained.temperature, after, rtol=1e-5)

    def test_cross_fitted_probabilities_are_of_heads_that_did_not_see_the_row(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(60, 256)
        targets = np.random.default_rng(7).integers(0, 2, 60)  # nothing to learn
        trained = train_head(codes, targets, kind="single_label", outputs=2, head="linear")
        assert trained.cross_fitted is not None
        rows, scores = trained.cross_fitted
        assert sorted(rows) == list(range(60))
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
        known = np.mean(predict(codes, trained.head, "single_label") == targets)
        assert np.mean(scores.argmax(axis=1) == targets[rows]) < 0.7 < known

    def test_thresholds_of_several_labels_are_chosen_on_cross_fitted_rows(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(300, 32)
        noise = np.random.default_rng(0).random((300, 2)) < 0.2
        targets = (bits_of(codes, 0, 1) & bits_of(codes, 2, 3)) ^ noise
        trained = train_head(codes, targets, kind="multi_label", outputs=2)
        assert trained.cross_fitted is not None
        rows, scores = trained.cross_fitted
        assert trained.thresholds == best_thresholds(scores, targets[rows])

    def test_an_mlp_takes_a_label_with_one_example(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        targets = np.append(np.zeros(200, int), 1)
        train_head(random_codes(201), targets, kind="single_label", outputs=2, head="mlp")

    def test_errors(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(6)
        with pytest.raises(ValueError, match="6 codes and 5 targets"):
            train_head(codes, np.zeros(5, int), kind="single_label", outputs=2)
        with pytest.raises(ValueError, match="two labels"):
            train_head(codes, np.ones(6, int), kind="single_label", outputs=2)
        for constant in (0, 1):
            with pytest.raises(ValueError, match="present and absent"):
                train_head(codes, np.full((6, 2), constant), kind="multi_label", outputs=2)
        with pytest.raises(ValueError, match="prototype is for classifiers"):
            train_head(codes, np.arange(6.0), kind="regression", outputs=1, head="prototype")
        for kind, head in (("single_label", "mlp"), ("regression", "linear")):
            with pytest.raises(ValueError, match="class_weight"):
                train_head(
                    codes,
                    np.arange(6) % 2,
                    kind=kind,
                    outputs=2,
                    head=head,
                    class_weight="balanced",
                )
