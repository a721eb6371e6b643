"""models.training.label_names, and heads that read them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.codes import Codes, unpack_signs
from models.head_runtime import HeadStack, LinearHead
from models.training.heads import train_head
from models.training.label_names import FEW_ROWS, NAME_WEIGHT, texts_of_names


class TestTextsOfNames:
    def test_a_text_a_label(self) -> None:
        names = texts_of_names(["card_arrival", "lost  card"], "single_label", 8)
        assert names == ["card arrival", "lost card"]

    @pytest.mark.parametrize("labels", [["0", "1"], ["a", "b"], ["cat", "2"], ["cat", "  "]])
    def test_none_where_a_name_is_no_word(self, labels: list[str]) -> None:
        assert texts_of_names(labels, "single_label", 8) == []

    def test_words_of_any_script(self) -> None:
        assert texts_of_names(["喜び", "怒り"], "single_label", 8) == ["喜び", "怒り"]

    def test_none_with_many_rows(self) -> None:
        labels = ["cat", "dog"]
        assert texts_of_names(labels, "single_label", 2 * FEW_ROWS) == []
        assert texts_of_names(labels, "single_label", 2 * FEW_ROWS - 1) == labels

    @pytest.mark.parametrize("kind", ["multi_label", "regression"])
    def test_none_where_labels_do_not_exclude_each_other(self, kind: str) -> None:
        assert texts_of_names(["cat", "dog"], kind, 8) == []  # type: ignore[arg-type]


class TestHeadsThatReadNames:
    def test_a_label_without_any_rows_here_but_a_name_elsewhere_is_still_absent(
        self, random_codes: Callable[..., Codes]
    ) -> None:
        """A name is no reason to answer a label that nobody gave an example of."""
        codes, names = random_codes(12, 64), random_codes(3, 64, seed=1)
        targets = np.array([0, 1] * 6)
        trained = train_head(codes, targets, kind="single_label", outputs=3, names=names)
        scores = HeadStack([trained.head], ["single_label"]).scores(names)
        assert scores[:, 2].max() < 1e-6

    @pytest.mark.parametrize("balanced", [False, True])
    def test_as_scikit_learn_with_the_names_as_weighted_rows(
        self, random_codes: Callable[..., Codes], balanced: bool
    ) -> None:
        """Reference: sklearn.linear_model.LogisticRegression with sample_weight."""
        codes, names = random_codes(40, 64), random_codes(3, 64, seed=1)
        targets = np.array([0] * 20 + [1] * 12 + [2] * 8)
        trained = train_head(
            codes,
            targets,
            kind="single_label",
            outputs=3,
            head="prototype",
            class_weight="balanced" if balanced else None,
            names=names,
        )
        assert trained.kind == "prototype"
        assert trained.hyperparameters["label_names"] is True
        weights = np.ones(40)
        if balanced:
            weights = 40 / (3 * np.bincount(targets))[targets]
        model = LogisticRegression(C=trained.hyperparameters["C"], tol=1e-8, max_iter=5000)
        model.fit(
            np.concatenate([unpack_signs(codes), unpack_signs(names)]),
            np.concatenate([targets, [0, 1, 2]]),
            np.concatenate([weights, np.full(3, NAME_WEIGHT)]),
        )
        assert isinstance(trained.uncalibrated, LinearHead)
        fresh = random_codes(50, 64, seed=2)
        expected = model.predict_proba(unpack_signs(fresh))
        scores = HeadStack([trained.uncalibrated], ["single_label"]).scores(fresh)
        assert np.abs(scores - expected).max() < 5e-3

    def test_names_decide_where_rows_say_nothing(self, random_codes: Callable[..., Codes]) -> None:
        """One row a label, far from the names: texts like a name get its label all the same."""
        codes, names = random_codes(2, 256), random_codes(2, 256, seed=1)
        trained = train_head(codes, np.array([0, 1]), kind="single_label", outputs=2, names=names)
        answered = HeadStack([trained.head], ["single_label"]).scores(names).argmax(axis=1)
        assert answered.tolist() == [0, 1]

    def test_an_mlp_does_without(self, random_codes: Callable[..., Codes]) -> None:
        codes, names = random_codes(60, 64), random_codes(2, 64, seed=1)
        targets = np.arange(60) % 2
        given = {"kind": "single_label", "outputs": 2, "head": "mlp"}
        with_names = train_head(codes, targets, names=names, **given)  # type: ignore[arg-type]
        without = train_head(codes, targets, **given)  # type: ignore[arg-type]
        assert "label_names" not in with_names.hyperparameters
        fresh = random_codes(20, 64, seed=2)
        scores = [
            HeadStack([trained.head], ["single_label"]).scores(fresh)
            for trained in (with_names, without)
        ]
        assert np.array_equal(*scores)

    def test_as_many_names_as_labels(self, random_codes: Callable[..., Codes]) -> None:
        with pytest.raises(ValueError, match="3 names for 2 labels"):
            train_head(
                random_codes(4, 64),
                np.array([0, 1, 0, 1]),
                kind="single_label",
                outputs=2,
                names=random_codes(3, 64),
            )
