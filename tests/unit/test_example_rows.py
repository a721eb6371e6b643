"""models.example_rows: labelled rows on disk, whole or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from models.artifact import ArtifactError
from models.example_rows import (
    EXAMPLES,
    TEST,
    TRAIN,
    ExampleRows,
    join_rows,
    load_rows,
    save_rows,
)

TARGETS: dict[str, Any] = {
    "single_label": np.array([0, 2, 1]),
    "multi_label": np.array([[0, 1], [1, 1], [0, 0]]),
    "regression": np.array([0.5, -1e9, 3.0]),
}


def rows(targets: Any = TARGETS["single_label"], side: int = TRAIN, part: int = 0) -> ExampleRows:
    codes = np.arange(4 * len(targets), dtype=np.uint8).reshape(-1, 4)
    return ExampleRows.of(codes, targets, side, part)


def equal(one: ExampleRows, other: ExampleRows) -> bool:
    names = ("codes", "targets", "side", "version", "part", "row")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("kind", TARGETS)
def test_rows_round_trip(tmp_path: Path, kind: str) -> None:
    written = join_rows([rows(TARGETS[kind]).known_as(3), rows(TARGETS[kind], TEST, part=1)])
    save_rows(tmp_path, written)
    read = load_rows(tmp_path, 32)
    assert read is not None
    assert equal(read, written)
    assert read.targets.dtype == TARGETS[kind].dtype


def test_a_version_without_rows_has_none(tmp_path: Path) -> None:
    assert load_rows(tmp_path, 32) is None


def test_rows_stored_with_a_version_get_its_number_and_others_keep_theirs() -> None:
    read = join_rows([rows().known_as(2), rows()]).known_as(5)
    assert read.version.tolist() == [2, 2, 2, 5, 5, 5]


def test_names_say_where_a_row_came_from() -> None:
    some = join_rows([rows().known_as(2), rows(), rows(side=TEST, part=1)])
    assert some.names(np.array([0, 4, 8])) == "0 of version 2, 1, test 2"
    many = rows(np.zeros(50, dtype=int))
    assert many.names(np.arange(50)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"


def test_codes_and_targets_must_pair() -> None:
    with pytest.raises(ValueError, match="2 codes and 3 targets"):
        ExampleRows.of(np.zeros((2, 4), np.uint8), np.zeros(3))


@given(st.binary(max_size=200))
def test_damaged_files_are_refused(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / EXAMPLES).write_bytes(data)
        with pytest.raises(ArtifactError):
            load_rows(Path(folder), 32)


@pytest.mark.parametrize(
    "change",
    [
        {"row": None},
        {"more": np.zeros(3, np.int8)},
        {"codes": np.zeros((3, 5), np.uint8)},
        {"codes": np.zeros((2, 4), np.uint8)},
        {"codes": np.zeros((3, 4), np.int32)},
        {"side": np.zeros((3, 1), np.int8)},
        {"side": np.full(3, 2, np.int8)},
        {"version": np.zeros(3, np.int64)},
        {"targets": np.zeros((), np.int64)},
    ],
    ids=str,
)
def test_files_that_are_not_rows_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    names = ("codes", "targets", "side", "version", "part", "row")
    tensors = {name: getattr(rows(), name) for name in names} | change
    save_file(
        {name: value for name, value in tensors.items() if value is not None}, tmp_path / EXAMPLES
    )
    with pytest.raises(ArtifactError):
        load_rows(tmp_path, 32)


def test_what_is_stored_are_codes_and_targets(tmp_path: Path) -> None:
    save_rows(tmp_path, rows())
    assert (tmp_path / EXAMPLES).read_bytes() == save(
        {
            "codes": rows().codes,
            "targets": rows().targets,
            "side": np.zeros(3, np.int8),
            "version": np.zeros(3, np.int32),
            "part": np.zeros(3, np.int8),
            "row": np.arange(3, dtype=np.int32),
        }
    )
