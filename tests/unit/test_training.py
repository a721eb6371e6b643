"""models.training.job: the report and its warnings, against scikit-learn and plain counting."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from models.codes import Codes, unpack_bits
from models.example_rows import TEST, TRAIN, ExampleRows
from models.head_runtime import Head, HeadKind, HeadStack, TaskKind
from models.training import logistic
from models.training.job import TrainingData, TrainingOptions, TrainingResult, fit_and_evaluate
from models.training.report import evaluate

HEADS: tuple[HeadKind, ...] = ("linear", "mlp")


def bits_of(codes: Codes, *places: int) -> np.ndarray:
    return unpack_bits(codes)[:, places].astype(np.int64)


def scores_of(codes: Codes, head: Head, kind: TaskKind) -> np.ndarray:
    return HeadStack([head], [kind]).scores(codes)


def sides(result: TrainingResult) -> tuple[ExampleRows, ExampleRows]:
    """What was trained on, and what was held out."""
    rows = result.rows
    return rows.take(rows.side == TRAIN), rows.take(rows.side == TEST)


class TestReport:
    def fit(
        self, kind: TaskKind, labels: list[str], codes: Codes, targets: np.ndarray, **options: Any
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
        """The report, and by other means: held-out truth, predictions and training truth."""
        data = TrainingData(kind, labels, codes, targets)
        result = fit_and_evaluate(data, TrainingOptions(**options))
        report, (train, test) = result.report, sides(result)
        assert (report["n_train"], report["n_test"]) == (len(train), len(test))
        assert report["test_source"] == "held_out"
        assert report["kind"] == kind
        json.dumps(report, allow_nan=False)
        scores = scores_of(test.codes, result.head, kind)
        if kind == "single_label":
            predicted = scores.argmax(axis=1)
        elif kind == "multi_label":
            assert report["thresholds"] == dict(zip(labels, result.thresholds, strict=True))
            predicted = (scores > np.float32(result.thresholds)).astype(np.int64)
        else:
            predicted = scores[:, 0]
        return report, test.targets, predicted, train.targets

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
        codes = random_codes(100, 32)
        targets = bits_of(codes, 0, 1).sum(axis=1) + np.random.default_rng(0).normal(size=100)
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
        result = fit_and_evaluate(data, TrainingOptions())
        report = result.report
        assert (report["n_train"], report["n_test"], report["test_source"]) == (40, 25, "given")
        answers = scores_of(test, result.head, "single_label").argmax(axis=1)
        assert report["accuracy"] == pytest.approx(np.mean(answers == truth))

    def test_the_interval_of_the_accuracy_is_wilsons(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(200, 32)
        noisy = bits_of(codes, 0)[:, 0] ^ (np.random.default_rng(0).random(200) < 0.2)
        report, truth, predicted, _ = self.fit("single_label", ["a", "b"], codes, noisy)
        right = int((truth == predicted).sum())
        expected = stats.binomtest(right, len(truth)).proportion_ci(method="wilson")
        assert report["accuracy_interval"] == pytest.approx([expected.low, expected.high])
        gain = report["accuracy"] - report["majority_accuracy"]
        assert report["gain_over_majority"]["mean"] == pytest.approx(gain)

    @pytest.mark.parametrize("kind", ["single_label", "multi_label"])
    def test_calibration_is_reported_on_rows_that_it_was_not_fitted_on(
        self, random_codes: Callable[..., Codes], kind: TaskKind
    ) -> None:
        codes = random_codes(400, 32)
        targets = bits_of(codes, 0, 1) ^ (np.random.default_rng(0).random((400, 2)) < 0.2)
        if kind == "single_label":
            targets = targets[:, 0]
        data = TrainingData(kind, ["a", "b"], codes, targets)
        result = fit_and_evaluate(data, TrainingOptions())
        _, test = sides(result)
        scores = scores_of(test.codes, result.head, kind)
        if kind == "single_label":
            sure, right = scores.max(axis=1), scores.argmax(axis=1) == test.targets
        else:
            sure, right = scores.reshape(-1), test.targets.reshape(-1)
        place = np.minimum((sure.astype(float) * 10).astype(int), 9)
        apart = [
            abs(sure[place == one].mean() - right[place == one].mean()) * np.mean(place == one)
            for one in set(place.tolist())
        ]
        report = result.report["calibration"]
        assert report["ece_after"] == pytest.approx(sum(apart), abs=1e-6)
        assert report["ece_after"] < report["ece_before"]
        assert sum(one["count"] for one in report["bins"]) == len(sure)

    def test_coverage_is_of_the_test_rows(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(200, 32)
        noisy = bits_of(codes, 0)[:, 0] ^ (np.random.default_rng(0).random(200) < 0.2)
        result = fit_and_evaluate(
            TrainingData("single_label", ["a", "b"], codes, noisy), TrainingOptions()
        )
        _, test = sides(result)
        scores = scores_of(test.codes, result.head, "single_label")
        [row] = [one for one in result.report["coverage"] if one["min_confidence"] == 0.8]
        answered = scores.max(axis=1) >= 0.8
        assert 0 < row["coverage"] < 1
        assert row["coverage"] == pytest.approx(answered.mean())
        right = scores.argmax(axis=1)[answered] == test.targets[answered]
        assert row["accuracy"] == pytest.approx(right.mean())


class TestFewRows:
    @pytest.mark.parametrize("head", ["auto", "linear", "mlp", "prototype"])
    @pytest.mark.parametrize("kind", ["single_label", "multi_label"])
    def test_few_rows_are_all_trained_on_and_cross_validated(
        self, random_codes: Callable[..., Codes], kind: TaskKind, head: Any
    ) -> None:
        codes = random_codes(16, 32)
        targets = np.arange(16) % 4
        if kind == "multi_label":
            targets = np.eye(4, dtype=np.int64)[targets]
        result = fit_and_evaluate(
            TrainingData(kind, list("abcd"), codes, targets), TrainingOptions(head=head)
        )
        report = result.report
        assert (result.rows.side == TRAIN).all()
        assert (report["n_train"], report["n_test"]) == (16, 16)
        assert report["test_source"] == "cross_validated"
        assert report["accuracy"] is not None
        assert report["calibration"] is None
        assert any("cross-validated" in note for note in report["warnings"])
        json.dumps(report, allow_nan=False)

    @pytest.mark.parametrize("head", ["auto", "linear", "mlp", "prototype"])
    def test_one_row_a_label_makes_a_head_and_no_figures(
        self, random_codes: Callable[..., Codes], head: Any
    ) -> None:
        codes = random_codes(3, 32)
        result = fit_and_evaluate(
            TrainingData("single_label", list("abc"), codes, np.arange(3)),
            TrainingOptions(head=head),
        )
        report = result.report
        assert scores_of(codes, result.head, "single_label").argmax(axis=1).tolist() == [0, 1, 2]
        assert (report["test_source"], report["n_test"], report["accuracy"]) == ("none", 0, None)
        assert any("no row could be tested" in note for note in report["warnings"])
        json.dumps(report, allow_nan=False)

    def test_labels_that_could_not_be_tested_are_not_passed_over(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        targets = np.array([0] * 8 + [1] * 8 + [2, 3])
        data = TrainingData("single_label", list("abcd"), random_codes(18, 32), targets)
        report = fit_and_evaluate(data, TrainingOptions()).report
        assert (report["n_train"], report["n_test"]) == (18, 16)
        assert any(note.startswith("2 rows are the only text") for note in report["warnings"])

    @pytest.mark.parametrize("rows", [2, 5])
    def test_a_regression_of_few_rows(self, random_codes: Callable[..., Codes], rows: int) -> None:
        data = TrainingData("regression", ["value"], random_codes(rows), np.arange(float(rows)))
        report = fit_and_evaluate(data, TrainingOptions()).report
        assert (report["test_source"], report["n_test"]) == ("cross_validated", rows)
        json.dumps(report, allow_nan=False)

    def test_a_fraction_that_is_asked_for_is_held_out(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        data = TrainingData("single_label", ["a", "b"], random_codes(12), np.arange(12) % 2)
        report = fit_and_evaluate(data, TrainingOptions(test_fraction=0.25)).report
        assert (report["test_source"], report["n_train"], report["n_test"]) == ("held_out", 9, 3)

    def test_one_code_cannot_be_told_apart(self) -> None:
        codes = np.zeros((5, 4), dtype=np.uint8)
        data = TrainingData("single_label", ["a", "b"], codes, np.arange(5) % 2)
        with pytest.raises(ValueError, match="same code"):
            fit_and_evaluate(data, TrainingOptions())


class TestBase:
    def first(self, codes: Codes) -> ExampleRows:
        data = TrainingData("single_label", ["a", "b"], codes, bits_of(codes, 0)[:, 0])
        return fit_and_evaluate(data, TrainingOptions()).rows.known_as(1)

    def test_a_base_is_trained_on_but_for_what_it_held_out(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        base = self.first(random_codes(150, 32))
        new = random_codes(100, 32, seed=1)
        data = TrainingData("single_label", ["a", "b"], new, bits_of(new, 0)[:, 0], base=base)
        result = fit_and_evaluate(data, TrainingOptions())
        assert result.report["base"] == {"rows": 150, "replaced": 0}
        assert result.rows.version.tolist() == [1] * 150 + [0] * 100
        assert (result.rows.side[:150] == base.side).all()
        assert (result.rows.side[150:] == TEST).sum() == 20
        assert (result.report["n_train"], result.report["n_test"]) == (200, 50)

    def test_a_base_alone_can_be_trained_anew(self, random_codes: Callable[..., Codes]) -> None:
        base = self.first(random_codes(150, 32))
        nothing = TrainingData(
            "single_label",
            ["a", "b"],
            np.zeros((0, 4), np.uint8),
            np.zeros(0, np.int64),
            base=base,
        )
        result = fit_and_evaluate(nothing, TrainingOptions(head="mlp"))
        assert result.kind == "mlp"
        assert (result.report["n_train"], result.report["n_test"]) == (120, 30)

    def test_a_new_label_of_a_known_code_replaces_the_old_and_stays_on_its_side(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        base = self.first(random_codes(150, 32))
        held = np.flatnonzero(base.side == TEST)[:2]
        taught = np.flatnonzero(base.side == TRAIN)[:3]
        again = np.concatenate([held, taught])
        data = TrainingData(
            "single_label", ["a", "b"], base.codes[again], 1 - base.targets[again], base=base
        )
        result = fit_and_evaluate(data, TrainingOptions())
        assert result.report["base"] == {"rows": 150, "replaced": 5}
        assert len(result.rows) == 150
        assert result.rows.side[-5:].tolist() == [TEST, TEST, TRAIN, TRAIN, TRAIN]
        assert result.rows.targets[-5:].tolist() == (1 - base.targets[again]).tolist()
        assert not any("conflicting" in note for note in result.report["warnings"])

    def test_given_test_rows_join_those_that_the_base_held_out(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        base = self.first(random_codes(150, 32))
        new, test = random_codes(40, 32, seed=1), random_codes(25, 32, seed=2)
        data = TrainingData(
            "single_label",
            ["a", "b"],
            new,
            bits_of(new, 0)[:, 0],
            test,
            bits_of(test, 0)[:, 0],
            base,
        )
        result = fit_and_evaluate(data, TrainingOptions())
        assert (result.report["n_train"], result.report["n_test"]) == (160, 55)
        assert result.report["test_source"] == "given"


class TestWarnings:
    def notes(self, codes: Codes, targets: np.ndarray, labels: str, **options: Any) -> list[str]:
        data = TrainingData("single_label", list(labels), codes, targets)
        return fit_and_evaluate(data, TrainingOptions(**options)).report["warnings"]

    def test_a_learnable_task_has_none(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(150, 64)
        assert self.notes(codes, bits_of(codes, 0)[:, 0], "ab") == []

    def test_labels_with_one_example_or_none(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(121, 64)
        targets = np.append(bits_of(codes[:120], 0)[:, 0], 3)
        notes = self.notes(codes, targets, "abcd", seed=1)
        assert "labels with no example: c" in notes
        assert "labels with one example only: d" in notes
        assert any("too few rows of some labels" in note for note in notes)

    def test_many_such_labels_are_cut_short(self, random_codes: Callable[..., Codes]) -> None:
        codes = random_codes(40, 64)
        notes = self.notes(codes, bits_of(codes, 0)[:, 0], "abcdefghij")
        assert "labels with no example: c, d, e, f, g, …" in notes

    def test_no_better_than_the_most_frequent_answer(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        codes = random_codes(150, 64)
        targets = (np.random.default_rng(5).random(150) < 0.1).astype(np.int64)
        [note] = [n for n in self.notes(codes, targets, "ab") if "most frequent" in n]
        assert "95% interval 0." in note

    def test_an_optimiser_that_stops_early_says_so(
        self, monkeypatch: pytest.MonkeyPatch, random_codes: Callable[..., Codes]
    ) -> None:
        monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
        codes = random_codes(150, 64)
        notes = self.notes(codes, bits_of(codes, 0)[:, 0], "ab")
        assert notes == ["the optimiser stopped before it converged"]
