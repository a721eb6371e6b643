"""models.training.checks: what is warned of, and that only rows are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.codes import Codes, hamming, unpack_bits
from models.example_rows import TEST, TRAIN, ExampleRows, join_rows
from models.head_runtime import TaskKind
from models.training import checks as module
from models.training.checks import check_rows, nearest_distance

Make = Callable[..., Codes]


def notes(
    train: Codes,
    targets: Any,
    test: Codes | None = None,
    *,
    kind: TaskKind = "single_label",
    labels: str = "ab",
    **options: Any,
) -> list[str]:
    parts = [ExampleRows.of(train, targets, TRAIN)]
    if test is not None:
        given = np.resize(targets, (len(test), *targets.shape[1:]))
        parts.append(ExampleRows.of(test, given, TEST, part=1))
    return check_rows(join_rows(parts), kind, labels, options.get("class_weight"))


def test_nothing_is_said_of_plain_rows(random_codes: Make) -> None:
    train, test = random_codes(60, 256), random_codes(20, 256, seed=1)
    assert notes(train, np.arange(60) % 2, test) == []
    assert notes(train, np.arange(60.0), test, kind="regression") == []


def test_conflicting_labels_name_their_rows(random_codes: Make) -> None:
    codes = random_codes(60, 256)
    codes[[1, 2, 11]] = codes[[0, 0, 10]]
    targets = np.zeros(60, dtype=int)
    targets[[1, 11, 30]] = 1
    [note] = notes(codes, targets)
    assert note.startswith("2 repeated texts have conflicting labels: rows ")
    assert sorted(note.split("rows ")[1].split(", ")) == ["0", "1", "10", "11"]


def test_sets_of_labels_conflict_too_but_values_do_not(random_codes: Make) -> None:
    codes = random_codes(30, 256)
    codes[1] = codes[0]
    sets = np.tile([[1, 1]], (30, 1))
    assert notes(codes, sets, kind="multi_label") == []
    sets[1] = [1, 0]
    [note] = notes(codes, sets, kind="multi_label")
    assert note == "1 repeated texts have conflicting labels: rows 1, 0"
    assert notes(codes, np.arange(30.0), kind="regression", labels="v") == []


def test_rare_and_uneven_labels(random_codes: Make) -> None:
    codes = random_codes(130, 256)
    targets = np.repeat([0, 1, 2], [120, 9, 1])
    first, second = notes(codes, targets, labels="abcd")[:2]
    assert first == "labels with no example: d"
    assert second == "labels with one example only: c"
    [uneven] = [n for n in notes(codes, targets, labels="abcd") if "uneven" in n]
    assert "120 rows of a and 1 of c" in uneven
    weighed = notes(codes, targets, labels="abcd", class_weight="balanced")
    assert not any("uneven" in note for note in weighed)
    even = notes(codes[:120], np.repeat([0, 1], [114, 6]))
    assert even == []
    sets = np.zeros((130, 3), dtype=int)
    sets[0, 0] = sets[:5, 1] = 1
    assert notes(codes, sets, kind="multi_label", labels="abc") == [
        "labels with no example: c",
        "labels with one example only: a",
    ]


def test_test_rows_that_are_trained_on(random_codes: Make) -> None:
    train, test = random_codes(60, 256), random_codes(20, 256, seed=1)
    test[[3, 7]] = train[[5, 9]]
    [note] = notes(train, np.zeros(60, dtype=int) + (np.arange(60) % 2), test)[-1:]
    assert note == (
        "2 of 20 test rows are also trained on, so the test score flatters: rows test 3, test 7"
    )


@pytest.mark.parametrize(("bits", "said"), [(1, True), (15, True), (16, False), (60, False)])
def test_test_rows_that_are_nearly_trained_on(random_codes: Make, bits: int, said: bool) -> None:
    train, test = random_codes(60, 256), random_codes(20, 256, seed=1)
    flipped = unpack_bits(train[5:6]).astype(bool)
    flipped[:, :bits] ^= True
    test[3] = np.packbits(flipped, axis=1)
    found = notes(train, np.arange(60.0), test, kind="regression")
    if said:
        [note] = found
        assert note.startswith("1 of 20 test rows are nearly the same as a row trained on")
        assert note.endswith("rows test 3")
    else:
        assert found == []


@pytest.mark.parametrize("width", [8, 24, 192])
def test_nearest_distances_are_the_smallest_of_all(
    random_codes: Make, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(module, "TILE", (7, 9))
    codes, others = random_codes(20, width * 8), random_codes(33, width * 8, seed=1)
    expected = [hamming(code[None], others).min() for code in codes]
    assert nearest_distance(codes, others).tolist() == expected
    assert nearest_distance(others[:4], others).tolist() == [0] * 4


def test_many_rows_are_looked_at_in_part_and_all_over_the_file(
    random_codes: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEAR_PAIRS", 500)
    train, test = random_codes(50, 256), random_codes(40, 256, seed=1)
    near = unpack_bits(train[:1]).astype(bool)
    near[:, :2] ^= True
    test[36] = np.packbits(near, axis=1)  # the last of ten rows at even distances
    [note] = notes(train, np.arange(50.0), test, kind="regression")
    assert note.startswith("1 of 10 test rows are nearly the same")
