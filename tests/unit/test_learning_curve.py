"""Learning curves from stored rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.codes import pack_bits
from models.example_rows import TEST, TRAIN, ExampleRows, join_rows
from models.training.heads import train_head
from models.training.learning_curve import SHARES, learning_curve

BITS = 64


def rows_of(count: int, side: int, seed: int, kind: str = "single_label") -> ExampleRows:
    draw = np.random.default_rng(seed)
    signs = draw.normal(size=(count, BITS)).astype(np.float32)
    first = signs[:, 0] > 0
    targets: Any = first.astype(np.int64)
    if kind == "regression":
        targets = signs[:, 0].astype(np.float64).round()
    if kind == "multi_label":
        targets = np.stack([first, signs[:, 1] > 0], axis=1).astype(np.int64)
    return ExampleRows.of(pack_bits(signs), targets, side)


def curve(rows: ExampleRows, kind: Any = "single_label", outputs: int = 2) -> list[dict[str, Any]]:
    train = rows.take(rows.side == TRAIN)
    trained = train_head(train.codes, train.targets, kind=kind, outputs=outputs, head="linear")
    return learning_curve(
        rows,
        trained.head,
        trained.thresholds,
        head_kind="linear",
        kind=kind,
        outputs=outputs,
        class_weight=None,
        names=None,
        seed=0,
    )


def test_a_curve_rises_and_ends_at_the_version() -> None:
    rows = join_rows([rows_of(320, TRAIN, 1), rows_of(200, TEST, 2)])
    points = curve(rows)
    assert [point["rows"] for point in points] == [*(int(320 * share) for share in SHARES), 320]
    assert points[-1]["accuracy"] > points[0]["accuracy"]
    for point in points:
        low, high = point["interval"]
        assert low <= point["accuracy"] <= high
        assert point["mae"] is None


def test_it_is_the_same_each_time() -> None:
    rows = join_rows([rows_of(160, TRAIN, 1), rows_of(50, TEST, 2)])
    assert curve(rows) == curve(rows)


@pytest.mark.parametrize(
    ("kind", "outputs", "figure"), [("multi_label", 2, "accuracy"), ("regression", 1, "mae")]
)
def test_other_kinds(kind: str, outputs: int, figure: str) -> None:
    rows = join_rows([rows_of(200, TRAIN, 1, kind), rows_of(50, TEST, 2, kind)])
    points = curve(rows, kind, outputs)
    assert len(points) > 1
    assert all(point[figure] is not None for point in points)


def test_few_rows_leave_the_version_alone() -> None:
    points = curve(join_rows([rows_of(14, TRAIN, 1), rows_of(20, TEST, 2)]))
    assert [point["rows"] for point in points] == [14]


def test_parts_of_one_label_are_left_out() -> None:
    train = rows_of(300, TRAIN, 1)
    rare = np.flatnonzero(train.targets == 1)
    kept = train.take(np.sort(np.concatenate([np.flatnonzero(train.targets == 0), rare[:2]])))
    points = curve(join_rows([kept, rows_of(50, TEST, 2)]))
    assert points[-1]["rows"] == len(kept)
    assert len(points) <= len(SHARES) + 1


def test_nothing_held_out_is_no_curve() -> None:
    with pytest.raises(ValueError, match="held out"):
        curve(rows_of(40, TRAIN, 1))
