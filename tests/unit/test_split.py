"""models.training.split, .folds and .crossfit: who is on which side, and in which fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.codes import Codes
from models.example_rows import FREE, TEST, TRAIN, ExampleRows, join_rows
from models.head_runtime import TaskKind
from models.training.crossfit import FOLDS, cross_fit, folds_to_run
from models.training.folds import assign_folds, draw_order, group_codes
from models.training.split import FEWEST_TEST_ROWS, split_rows


@st.composite
def labelled_rows(draw: st.DrawFn) -> ExampleRows:
    """Rows with many equal codes, some on a side already."""
    count = draw(st.integers(2, 40))

    def numbers(most: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(0, most), min_size=count, max_size=count)))

    rows = ExampleRows.of(numbers(12).astype(np.uint8)[:, None], numbers(2))
    if draw(st.booleans()):
        return rows
    decided = np.where(numbers(3) == 0, numbers(1), FREE).astype(np.int8)
    return join_rows(
        [rows.take(decided == FREE), _on(rows, decided, TRAIN), _on(rows, decided, TEST)]
    )


def _on(rows: ExampleRows, decided: np.ndarray, side: int) -> ExampleRows:
    some = rows.take(decided == side)
    return ExampleRows.of(some.codes, some.targets, side)


@given(labelled_rows(), st.floats(0.01, 0.99) | st.none(), st.integers(0, 5))
def test_free_rows_are_decided_with_their_equals_and_others_stay(
    rows: ExampleRows, fraction: float | None, seed: int
) -> None:
    split, _ = split_rows(rows, "single_label", fraction, seed)
    decided = rows.side != FREE
    assert (split.side[decided] == rows.side[decided]).all()
    assert set(split.side.tolist()) <= {TRAIN, TEST}
    assert (split.codes == rows.codes).all()
    for code in set(rows.codes[~decided, 0].tolist()):
        same = rows.codes[:, 0] == code
        assert len(set(split.side[same & ~decided].tolist())) == 1
        known = set(rows.side[same & decided].tolist())
        if len(known) == 1:
            assert set(split.side[same & ~decided].tolist()) == known


@given(labelled_rows(), st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_label_keeps_a_row_to_train_on(rows: ExampleRows, fraction: float, seed: int) -> None:
    split, _ = split_rows(rows, "single_label", fraction, seed)
    first, _ = group_codes(rows.codes)
    free_labels = set(rows.targets[first][rows.side[first] == FREE].tolist())
    # Of free codes, as labels go by the first row of each code.
    taught = set(rows.targets[first][split.side[first] == TRAIN].tolist())
    untouched = (rows.side == FREE).all()
    assert not untouched or free_labels <= taught


@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=4),
    st.sampled_from([0.2, 0.5]),
    st.integers(0, 5),
)
def test_labels_are_held_out_in_proportion(sizes: list[int], fraction: float, seed: int) -> None:
    targets = np.repeat(np.arange(len(sizes)), sizes)
    codes = np.arange(len(targets), dtype=np.uint8)[:, None]  # all distinct
    rows = ExampleRows.of(codes, targets)
    split, notes = split_rows(rows, "single_label", fraction, seed)
    held = Counter(targets[split.side == TEST].tolist())
    room = sum(sizes) - len(sizes)
    wanted = max(1, round(len(targets) * fraction))
    assert held.total() == min(wanted, room)
    for label, size in enumerate(sizes):
        assert abs(held[label] - size * held.total() / len(targets)) <= 1
    missing = len(held) < len(sizes)
    assert any("too few rows of some labels" in note for note in notes) == missing


def test_more_rows_of_the_same_data_hold_out_the_same() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (1000, 8), dtype=np.uint8)
    targets = random.integers(0, 3, 1000)
    held = []
    for count in (500, 1000):
        rows = ExampleRows.of(codes[:count], targets[:count])
        split, _ = split_rows(rows, "single_label", None, 0)
        held.append(set(np.flatnonzero(split.side == TEST).tolist()))
    kept = len(held[0] & held[1]) / len(held[0])
    assert kept > 0.85  # the cut moves a little with the numbers
    other, _ = split_rows(ExampleRows.of(codes, targets), "single_label", None, 1)
    assert len(held[1] & set(np.flatnonzero(other.side == TEST).tolist())) < 80


@pytest.mark.parametrize(
    ("count", "fraction", "held"),
    [
        (5 * FEWEST_TEST_ROWS - 5, None, 0),
        (5 * FEWEST_TEST_ROWS, None, FEWEST_TEST_ROWS),
        (10, 0.2, 2),
        (4, 0.01, 1),
        (2, 0.9, 0),
    ],
)
def test_too_few_rows_are_not_held_out_unless_asked(
    count: int, fraction: float | None, held: int
) -> None:
    codes = np.arange(count, dtype=np.uint8)[:, None]
    rows = ExampleRows.of(codes, np.arange(count) % 2)
    split, notes = split_rows(rows, "single_label", fraction, 0)
    assert (split.side == TEST).sum() == held
    asked_in_vain = fraction is not None and not held
    assert any("nothing could be held out" in note for note in notes) == asked_in_vain


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("regression", np.arange(100.0)), ("multi_label", np.eye(100, 3, dtype=int))],
)
def test_other_kinds_are_split_without_labels(
    random_codes: Callable[..., Codes], kind: TaskKind, targets: np.ndarray
) -> None:
    split, notes = split_rows(ExampleRows.of(random_codes(100), targets), kind, None, 0)
    assert ((split.side == TEST).sum(), notes) == (20, [])


def test_the_order_of_a_draw_depends_on_code_and_seed_alone(
    random_codes: Callable[..., Codes],
) -> None:
    codes = random_codes(50)
    order = draw_order(codes, 3)
    assert (draw_order(codes[::-1], 3)[::-1] == order).all()
    assert (draw_order(codes, 4) != order).all()
    assert len(set(order.tolist())) == 50


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=60))
def test_folds_keep_equal_codes_together_and_labels_apart(pairs: list[tuple[int, int]]) -> None:
    codes = np.array([[code] for code, _ in pairs], dtype=np.uint8)
    targets = np.array([label for _, label in pairs])
    fold = assign_folds(codes, targets, "single_label", FOLDS, 0)
    first, group = group_codes(codes)
    assert (codes[first][group] == codes).all()
    assert (fold == fold[first][group]).all()
    for label in range(3):
        dealt = Counter(fold[first][targets[first] == label].tolist())
        counts = [dealt[number] for number in range(FOLDS)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("kind", ["regression", "multi_label"])
def test_folds_of_other_kinds_get_their_share(
    random_codes: Callable[..., Codes], kind: TaskKind
) -> None:
    targets: Any = np.arange(100.0) if kind == "regression" else np.eye(2, dtype=int)[[0, 1] * 50]
    fold = assign_folds(random_codes(100), targets, kind, FOLDS, 0)
    assert sorted(Counter(fold.tolist()).values()) == [20] * 5
    if kind == "regression":  # low and high values in each
        assert all(abs(targets[fold == n].mean() - 49.5) < 5 for n in range(FOLDS))
    else:
        assert all(targets[fold == n, 0].sum() == 10 for n in range(FOLDS))


def test_cross_fitting_never_shows_a_candidate_its_rows() -> None:
    x = np.arange(20, dtype=np.float32)[:, None]
    fold = np.arange(20) % FOLDS
    seen = []

    def fit(rows: np.ndarray) -> list[Any]:
        seen.append(set(np.flatnonzero(rows).tolist()))
        number = float(len(seen))
        return [lambda x: x * number, lambda x: -x]

    crossed = cross_fit(x, fold, FOLDS, fit)
    assert crossed is not None
    assert sorted(crossed.rows) == list(range(20))
    assert (crossed.outputs[1][:, 0] == -crossed.rows).all()
    for row, output in zip(crossed.rows, crossed.outputs[0][:, 0], strict=True):
        if row:
            assert row not in seen[int(output / row) - 1]


def test_rows_whose_label_no_other_fold_has_are_left_out() -> None:
    x = np.arange(6, dtype=np.float32)[:, None]
    known = np.array([0, 1, 0, 1, 0, 2])
    crossed = cross_fit(x, np.arange(6) % 3, 3, lambda _: [lambda x: x], known)
    assert crossed is not None
    assert sorted(crossed.rows) == [0, 1, 2, 3, 4]
    alone = cross_fit(x[:2], np.arange(2), 2, lambda _: [lambda x: x], known[:2])
    assert alone is None


def test_folds_that_cost_too_much_are_not_run() -> None:
    assert folds_to_run(4_000, 4) == FOLDS
    assert folds_to_run(12_000, 10) == 2
    assert folds_to_run(12_000, 150) == 1
    assert folds_to_run(0, 0) == FOLDS
