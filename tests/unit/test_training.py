"""models.training: heads, the split and the report, against scikit-learn and plain counting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from models.codes import Codes, unpack_bits
from models.head_runtime import HeadKind, HeadStack, LinearHead, TaskKind
from models.training import heads as module
from models.training.heads import STRENGTHS, train_head
from models.training.job import TrainingData, TrainingOptions, fit_and_evaluate, split_rows
from models.training.report import evaluate

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
HEADS: tuple[HeadKind, ...] = ("linear", "mlp")
# Rows from which each head can learn a rule of a few bits out of 32.
ENOUGH: dict[HeadKind, int] = {"linear": 300, "mlp": 3000}


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
        monkeypatch.setattr(module, "STRENGTHS", (1e-8, 1e-7, 0.1, 1e-6))
        trained = train_head(codes, targets, kind=kind, outputs=outputs)
        assert trained.hyperparameters["C"] == 0.1

    def test_few_rows_take_the_middle_strength(self, random_codes: Callable[..., Codes]) -> None:
        trained = train_head(random_codes(8), np.array([0, 1] * 4), kind="single_label", outputs=2)
        assert trained.hyperparameters["C"] == STRENGTHS[len(STRENGTHS) // 2]

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


@st.composite
def labelled_rows(draw: st.DrawFn) -> TrainingData:
    """Rows with many equal codes."""
    count = draw(st.integers(4, 40))
    codes = np.array(draw(st.lists(st.integers(0, 12), min_size=count, max_size=count)), np.uint8)
    targets = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    return TrainingData("single_label", ["a", "b", "c"], codes[:, None], targets)


class TestSplit:
    @given(labelled_rows(), st.floats(0.01, 0.99), st.integers(0, 5))
    def test_every_row_is_on_one_side_and_equal_codes_are_together(
        self, data: TrainingData, fraction: float, seed: int
    ) -> None:
        distinct = len(set(data.codes[:, 0].tolist()))
        options = TrainingOptions(test_fraction=fraction, seed=seed)
        if distinct < 2:
            with pytest.raises(ValueError, match="same code"):
                split_rows(data, options)
            return
        _, first = np.unique(data.codes, axis=0, return_index=True)
        labels = Counter(data.targets[first].tolist())
        free = sum(count for count in labels.values() if count >= 2)  # others only teach
        if free < 2:
            with pytest.raises(ValueError, match="none can be held out"):
                split_rows(data, options)
            return
        train, test, _ = split_rows(data, options)
        assert sorted([*train, *test]) == list(range(len(data.codes)))
        assert len(train) > 0
        assert len(test) > 0
        sides = [set(data.codes[rows, 0].tolist()) for rows in (train, test)]
        assert not sides[0] & sides[1]
        assert len(sides[1]) == min(max(1, round(distinct * fraction)), free - 1)

    @given(
        st.lists(st.integers(2, 12), min_size=2, max_size=4),
        st.sampled_from([0.2, 0.5]),
        st.integers(0, 5),
    )
    def test_labels_are_held_out_in_proportion(
        self, sizes: list[int], fraction: float, seed: int
    ) -> None:
        targets = np.repeat(np.arange(len(sizes)), sizes)
        codes = np.arange(len(targets), dtype=np.uint8)[:, None]  # all distinct
        data = TrainingData("single_label", list("abcd")[: len(sizes)], codes, targets)
        _, test, notes = split_rows(data, TrainingOptions(test_fraction=fraction, seed=seed))
        if round(len(targets) * fraction) < len(sizes):
            assert any("too few rows of some labels" in note for note in notes)
            return
        held = Counter(targets[test].tolist())
        for label, size in enumerate(sizes):
            assert abs(held[label] - size * len(test) / len(targets)) <= 1
        assert not notes

    def test_given_test_rows_leave_all_rows_to_train_on(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(3)
        data = TrainingData("regression", ["value"], codes, np.arange(3.0), codes, np.arange(3.0))
        train, test, _ = split_rows(data, TrainingOptions())
        assert train.tolist() == [0, 1, 2]
        assert len(test) == 0

    @pytest.mark.parametrize("rows", [0, 1, 3])
    def test_too_few_rows(self, random_codes: Callable[..., Codes], rows: int) -> None:
        data = TrainingData("regression", ["value"], random_codes(rows), np.zeros(rows))
        with pytest.raises(ValueError, match=f"{rows} examples are too few"):
            split_rows(data, TrainingOptions())

    @pytest.mark.parametrize(
        ("kind", "targets"),
        [("regression", np.arange(20.0)), ("multi_label", np.eye(20, 3, dtype=int))],
    )
    def test_other_kinds_are_split_without_labels(
        self, random_codes: Callable[..., Codes], kind: TaskKind, targets: np.ndarray
    ) -> None:
        data = TrainingData(kind, ["a", "b", "c"], random_codes(20), targets)
        train, test, notes = split_rows(data, TrainingOptions(test_fraction=0.25))
        assert (len(train), len(test), notes) == (15, 5, [])

    def test_both_labels_are_left_to_train_on(self, random_codes: Callable[..., Codes]) -> None:
        data = TrainingData("single_label", ["a", "b"], random_codes(10), np.arange(10) // 9)
        for seed in range(20):
            train, _, _ = split_rows(data, TrainingOptions(seed=seed))
            assert set(data.targets[train]) == {0, 1}


class TestReport:
    def fit(
        self, kind: TaskKind, labels: list[str], codes: Codes, targets: np.ndarray, **options: Any
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
        """The report, and by other means: held-out truth, predictions and training truth."""
        data = TrainingData(kind, labels, codes, targets)
        given_options = TrainingOptions(**options)
        head, report = fit_and_evaluate(data, given_options)
        train, test, _ = split_rows(data, given_options)
        assert (report["n_train"], report["n_test"]) == (len(train), len(test))
        assert report["test_source"] == "held_out"
        assert report["kind"] == kind
        json.dumps(report, allow_nan=False)
        return report, targets[test], predict(codes[test], head, kind), targets[train]

    @pytest.mark.parametrize("head", HEADS)
    def test_single_label(self, random_codes: Callable[..., Codes], head: HeadKind) -> None:
        codes = random_codes(120, 32)
        targets = bits_of(codes, 0, 1).sum(axis=1)
        labels = ["none", "one", "two"]
        report, truth, predicted, train = self.fit(
            "single_label", labels, codes, targets, test_fraction=0.4, head=head
        )
        assert report["head"] == head
        assert report["accuracy"] == pytest.approx(np.mean(truth == predicted))
        expected = metrics.classification_report(
            truth, predicted, target_names=labels, output_dict=True, zero_division=0
        )
        assert report["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
        for row in report["per_class"]:
            one = expected[row["label"]]
            assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
                [one["precision"], one["recall"], one["f1-score"], one["support"]]
            )
        pairs = Counter(zip(truth.tolist(), predicted.tolist(), strict=True))
        matrix = [[pairs[true, guess] for guess in range(3)] for true in range(3)]
        assert report["confusion"] == {"labels": labels, "matrix": matrix}
        majority = Counter(train.tolist()).most_common(1)[0][0]
        assert report["majority_accuracy"] == pytest.approx(np.mean(truth == majority))

    def test_multi_label(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(120, 32)
        targets = bits_of(codes, 0, 1, 2) & bits_of(codes, 3, 4, 5)
        labels = ["x", "y", "z"]
        report, truth, predicted, train = self.fit("multi_label", labels, codes, targets)
        assert report["accuracy"] == pytest.approx(
            np.mean([a == b for a, b in zip(truth.tolist(), predicted.tolist(), strict=True)])
        )
        f1s = [metrics.f1_score(truth[:, i], predicted[:, i], zero_division=0) for i in range(3)]
        assert report["macro_f1"] == pytest.approx(np.mean(f1s))
        assert [row["f1"] for row in report["per_class"]] == pytest.approx(f1s)
        [(common, _)] = Counter(map(tuple, train.tolist())).most_common(1)
        assert report["majority_accuracy"] == pytest.approx(
            np.mean([tuple(row) == common for row in truth.tolist()])
        )

    def test_regression(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(60, 32)
        targets = bits_of(codes, 0, 1).sum(axis=1) + np.random.default_rng(0).normal(size=60)
        report, truth, predicted, train = self.fit("regression", ["value"], codes, targets)
        assert report["mae"] == pytest.approx(np.mean(np.abs(truth - predicted)))
        residual = np.sum((truth - predicted) ** 2) / np.sum((truth - truth.mean()) ** 2)
        assert report["r2"] == pytest.approx(1 - residual)
        assert report["baseline_mae"] == pytest.approx(np.mean(np.abs(truth - train.mean())))
        assert report["accuracy"] is report["macro_f1"] is report["confusion"] is None

    def test_r2_of_one_row_does_not_exist(self) -> None:
        scores = np.ones((1, 1), np.float32)
        report = evaluate(scores, np.ones(1), np.ones(3), kind="regression", labels=["value"])
        assert report["r2"] is None
        assert report["mae"] == 0

    def test_macro_f1_leaves_out_labels_that_nobody_has(self) -> None:
        scores = np.eye(3, dtype=np.float32)[[0, 1, 1]]
        report = evaluate(
            scores, np.array([0, 1, 1]), np.array([0, 1]), kind="single_label", labels=list("abc")
        )
        assert report["macro_f1"] == 1.0
        assert len(report["per_class"]) == 3

    def test_given_test_rows_are_what_is_reported(self, random_codes: Callable[..., Codes]) -> None:
        codes, test = random_codes(40, 32), random_codes(25, 32, seed=1)
        truth = bits_of(test, 0)[:, 0]
        data = TrainingData("single_label", ["a", "b"], codes, bits_of(codes, 0)[:, 0], test, truth)
        head, report = fit_and_evaluate(data, TrainingOptions())
        assert (report["n_train"], report["n_test"], report["test_source"]) == (40, 25, "given")
        assert report["accuracy"] == pytest.approx(
            np.mean(predict(test, head, "single_label") == truth)
        )


class TestWarnings:
    def notes(self, codes: Codes, targets: np.ndarray, labels: str, **options: Any) -> list[str]:
        data = TrainingData("single_label", list(labels), codes, targets)
        return fit_and_evaluate(data, TrainingOptions(**options))[1]["warnings"]

    def test_a_learnable_task_has_none(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(100, 32)
        assert self.notes(codes, bits_of(codes, 0)[:, 0], "ab") == []

    def test_labels_with_one_example_or_none(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(41, 32)
        targets = np.append(bits_of(codes[:40], 0)[:, 0], 3)
        notes = self.notes(codes, targets, "abcd", seed=1)
        assert "labels with no example: c" in notes
        assert "labels with one example only: d" in notes
        assert any("too few rows of some labels" in note for note in notes)

    def test_many_such_labels_are_cut_short(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(40, 32)
        notes = self.notes(codes, bits_of(codes, 0)[:, 0], "abcdefghij")
        assert "labels with no example: c, d, e, f, g, …" in notes

    def test_conflicting_labels_of_equal_texts(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(60, 32)
        codes[[1, 2, 11]] = codes[[0, 0, 10]]
        targets = bits_of(codes, 0)[:, 0]
        targets[1], targets[11] = 1 - targets[0], 1 - targets[10]
        assert "2 repeated texts have conflicting labels" in self.notes(codes, targets, "ab")

    def test_no_better_than_the_most_frequent_answer(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(100, 32)
        targets = (np.random.default_rng(5).random(100) < 0.1).astype(np.int64)
        notes = self.notes(codes, targets, "ab")
        assert any("no better than always giving the most frequent" in note for note in notes)

    def test_an_optimiser_that_stops_early_says_so(
        self, monkeypatch: pytest.MonkeyPatch, random_codes: Callable[..., Codes]
    ) -> None:
        original = module.LogisticRegression
        monkeypatch.setattr(
            module, "LogisticRegression", lambda **kw: original(**kw | {"max_iter": 1})
        )
        codes = random_codes(40, 32)
        trained = train_head(codes, bits_of(codes, 0)[:, 0], kind="single_label", outputs=2)
        assert trained.warnings == ["the optimiser stopped before it converged"]
        assert isinstance(trained.head, LinearHead)
