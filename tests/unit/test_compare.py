"""app.tasks.compare and .settings: which rows count, and what two versions are worth on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from app.errors import Conflict, InvalidField
from app.schemas import SettingsRequest, VersionSettings
from app.tasks import compare as module
from app.tasks.compare import Compared, compare_versions, rows_new_to_both
from app.tasks.settings import changed_settings, measured, thresholds_of
from models.codes import Codes, unpack_bits
from models.example_rows import TEST, TRAIN, ExampleRows, join_rows
from models.head_artifact import HeadManifest
from models.head_runtime import HeadStack, LinearHead

MakeManifest = Callable[..., HeadManifest]
BITS = 16


def head(seed: int, outputs: int = 3) -> LinearHead:
    random = np.random.default_rng(seed)
    weight = random.normal(size=(BITS, outputs)).astype(np.float32)
    return LinearHead(weight, np.zeros(outputs, np.float32))


def codes(*numbers: int) -> Codes:
    """A code a number."""
    return np.array([[n >> 8, n & 255] for n in numbers], dtype=np.uint8)


def held(numbers: list[int], targets: Any, part: int = 0) -> ExampleRows:
    return ExampleRows.of(codes(*numbers), np.asarray(targets), TEST, part)


def taught(*numbers: int) -> ExampleRows:
    return ExampleRows.of(codes(*numbers), np.zeros(len(numbers), np.int64), TRAIN)


@pytest.fixture
def compared(make_manifest: MakeManifest) -> Callable[..., Compared]:
    def make(version: int, *parts: ExampleRows, seed: int = 0, **fields: Any) -> Compared:
        settings = fields.pop("settings", VersionSettings())
        fields = {"labels": ("x", "y", "z"), "bits": BITS} | fields
        rows = join_rows(parts).known_as(version) if parts else None
        outputs = len(fields["labels"])
        return Compared(version, make_manifest(**fields), settings, head(seed, outputs), rows)

    return make


class TestRows:
    def test_held_out_rows_of_both_count_but_not_what_either_was_trained_on(
        self, compared: Callable[..., Compared]
    ) -> None:
        a = compared(1, taught(1, 2, 3), held([10, 11, 12, 13], [0, 1, 2, 0]))
        b = compared(2, taught(4, 5, 10, 11), held([12, 14, 3], [1, 0, 0]))
        rows, excluded = rows_new_to_both(a, b)
        assert rows is not None
        # b's 12 with b's label, and 14; of a: 13. Out: b's 3, that a knows, a's 10 and 11.
        assert rows.codes[:, 1].tolist() == [12, 14, 13]
        assert rows.targets.tolist() == [1, 0, 0]
        assert rows.version.tolist() == [2, 2, 1]
        assert rows.row.tolist() == [0, 1, 3]
        assert excluded == 3

    def test_no_row_of_the_comparison_is_in_either_training_set(
        self, compared: Callable[..., Compared]
    ) -> None:
        random = np.random.default_rng(0)
        for _ in range(30):
            both = []
            for version in (1, 2):
                numbers = random.integers(0, 40, 30).tolist()
                rows = ExampleRows.of(codes(*numbers), random.integers(0, 3, 30))
                side = random.integers(0, 2, 30).astype(np.int8)
                both.append(compared(version, replace(rows, side=side)))
            found, _ = rows_new_to_both(*both)
            known = {
                code.tobytes()
                for one in both
                if one.rows is not None
                for code in one.rows.codes[one.rows.side == TRAIN]
            }
            assert found is None or not known & {code.tobytes() for code in found.codes}

    @pytest.mark.parametrize("missing", ["rows", "common"])
    def test_without_such_rows_there_is_no_comparison(
        self, compared: Callable[..., Compared], missing: str
    ) -> None:
        a = compared(1, taught(1), held([2], [0]))
        b = compared(2) if missing == "rows" else compared(2, taught(2), held([1], [0]))
        with pytest.raises(Conflict, match="new to both") as caught:
            compare_versions("t", a, b)
        assert caught.value.code == "no_common_rows"

    def test_versions_of_two_encoders_do_not_compare(
        self, compared: Callable[..., Compared]
    ) -> None:
        a = compared(1, held([2], [0]))
        b = compared(2, held([2], [0]), encoders={"f2": {}})
        with pytest.raises(Conflict, match="different encoders"):
            compare_versions("t", a, b)


class TestFigures:
    def test_single_label(self, compared: Callable[..., Compared]) -> None:
        random = np.random.default_rng(0)
        numbers = random.choice(60_000, 200, replace=False).tolist()
        truth = random.integers(0, 3, 200)
        a = compared(1, held(numbers, truth), seed=1)
        b = compared(2, held(numbers, truth), seed=2)
        found = compare_versions("t", a, b)
        right, answers = [], []
        for one in (a, b):
            scores = HeadStack([one.head], ["single_label"]).scores(codes(*numbers))
            answers.append(scores.argmax(axis=1))
            right.append(answers[-1] == truth)
        assert (found.rows, found.excluded) == (200, 0)
        assert (found.a.accuracy, found.b.accuracy) == (right[0].mean(), right[1].mean())
        only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        assert found.mcnemar is not None
        assert (found.mcnemar.only_a, found.mcnemar.only_b) == (only_a, only_b)
        expected = stats.binomtest(only_a, only_a + only_b).pvalue
        assert found.mcnemar.p_value == pytest.approx(expected)
        assert found.difference.mean == pytest.approx(right[1].mean() - right[0].mean())
        assert found.difference.low < found.difference.mean < found.difference.high
        differ = np.flatnonzero(answers[0] != answers[1])
        assert found.changed_count == len(differ)
        assert [row.row for row in found.changed] == differ.tolist()
        first = found.changed[0]
        assert (first.version, first.part) == (2, "examples")
        assert (first.truth, first.a, first.b) == tuple(
            "xyz"[values[differ[0]]] for values in (truth, *answers)
        )

    def test_a_version_equals_itself(self, compared: Callable[..., Compared]) -> None:
        one = compared(1, held([3, 4, 5], [0, 1, 2], part=1))
        found = compare_versions("t", one, one)
        assert (found.rows, found.changed, found.difference.mean) == (3, [], 0.0)
        assert found.mcnemar is not None
        assert found.mcnemar.p_value == 1.0

    def test_several_labels_at_each_versions_thresholds(
        self, compared: Callable[..., Compared]
    ) -> None:
        rows = held([3, 4, 500, 999], [[1, 0], [0, 1], [1, 1], [0, 0]])
        known: dict[str, Any] = {"kind": "multi_label", "labels": ("x", "y")}
        a = compared(1, rows, thresholds=(0.0, 0.0), **known)
        b = compared(2, rows, settings=VersionSettings(thresholds={"x": 1, "y": 1}), **known)
        found = compare_versions("t", a, b)
        assert (found.a.accuracy, found.b.accuracy) == (0.25, 0.25)
        assert found.changed_count == 4
        assert (found.changed[0].truth, found.changed[0].a, found.changed[0].b) == (
            ["x"],
            ["x", "y"],
            [],
        )

    def test_a_regression_by_its_errors(self, compared: Callable[..., Compared]) -> None:
        rows = held([3, 4, 500, 999], [0.5, 1.0, -2.0, 0.0])
        known: dict[str, Any] = {"kind": "regression", "labels": ("value",)}
        a, b = compared(1, rows, seed=1, **known), compared(2, rows, seed=2, **known)
        found = compare_versions("t", a, b)
        for one, shown in ((a, found.a), (b, found.b)):
            values = HeadStack([one.head], ["regression"]).scores(rows.codes)[:, 0]
            assert shown.mae == pytest.approx(np.abs(values - rows.targets).mean())
        assert found.difference.mean == pytest.approx((found.b.mae or 0) - (found.a.mae or 0))
        assert (found.mcnemar, found.changed) == (None, [])

    def test_many_changed_rows_are_cut(
        self, compared: Callable[..., Compared], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_CHANGED", 3)
        rows = held(list(range(100)), [0] * 100)
        found = compare_versions("t", compared(1, rows, seed=1), compared(2, rows, seed=2))
        assert len(found.changed) == 3 < found.changed_count


class TestSettings:
    def test_fields_that_are_left_out_stay(self, make_manifest: MakeManifest) -> None:
        known = VersionSettings(min_confidence=0.5)
        read = SettingsRequest.model_validate
        manifest = make_manifest()
        assert changed_settings(manifest, known, read({})).min_confidence == 0.5
        raised = changed_settings(manifest, known, read({"min_confidence": 0.9}))
        assert raised.min_confidence == 0.9
        reset = changed_settings(manifest, known, read({"min_confidence": None}))
        assert reset.min_confidence is None

    @pytest.mark.parametrize(
        ("kind", "body", "said"),
        [
            ("multi_label", {"min_confidence": 0.5}, "min_confidence"),
            ("regression", {"min_confidence": 0.5}, "min_confidence"),
            ("single_label", {"thresholds": {"a": 0.5}}, "thresholds"),
            ("multi_label", {"thresholds": {"c": 0.5}}, "'c' is not one of"),
        ],
    )
    def test_settings_that_do_not_fit(
        self, make_manifest: MakeManifest, kind: str, body: dict[str, Any], said: str
    ) -> None:
        labels = ("value",) if kind == "regression" else ("a", "b")
        manifest = make_manifest(kind=kind, labels=labels)
        with pytest.raises(InvalidField, match=said):
            changed_settings(manifest, VersionSettings(), SettingsRequest.model_validate(body))

    def test_thresholds_are_as_set_else_as_trained_else_a_half(
        self, make_manifest: MakeManifest
    ) -> None:
        plain = make_manifest(kind="multi_label")
        trained = make_manifest(kind="multi_label", thresholds=(0.2, 0.3))
        assert thresholds_of(plain, VersionSettings()) == (0.5, 0.5)
        assert thresholds_of(trained, VersionSettings()) == (0.2, 0.3)
        assert thresholds_of(trained, VersionSettings(thresholds={"b": 0.9})) == (0.2, 0.9)
        assert thresholds_of(make_manifest(), VersionSettings()) is None

    def test_settings_are_measured_on_held_out_rows(
        self, make_manifest: MakeManifest, random_codes: Callable[..., Codes]
    ) -> None:
        some = random_codes(300, BITS)
        truth = unpack_bits(some)[:, 0].astype(np.int64)
        side = (np.arange(300) % 2).astype(np.int8)
        rows = replace(ExampleRows.of(some, truth), side=side)
        one = head(0, 2)
        manifest = make_manifest(bits=BITS)
        found = measured(manifest, one, rows, VersionSettings(min_confidence=0.9))
        scores = HeadStack([one], ["single_label"]).scores(some[side == TEST])
        answered = scores.max(axis=1) >= 0.9
        right = scores.argmax(axis=1) == truth[side == TEST]
        assert 0 < answered.mean() < 1
        assert found == VersionSettings(
            min_confidence=0.9, coverage=answered.mean(), accuracy=right[answered].mean()
        )
        always = measured(manifest, one, rows, VersionSettings())
        assert (always.coverage, always.accuracy) == (1.0, right.mean())
        for nothing in (None, rows.take(side == TRAIN)):
            plain = measured(manifest, one, nothing, VersionSettings(min_confidence=0.9))
            assert (plain.coverage, plain.accuracy) == (None, None)
