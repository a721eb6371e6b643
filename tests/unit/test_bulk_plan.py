"""bulk.plan: blocks, receipts, and what makes a run another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk.plan import Receipt, Refused, SourceFile, blocks_of, compare, run_digest

ROWS = st.lists(st.integers(0, 200), min_size=1, max_size=12)


def files_of(rows: list[int]) -> list[SourceFile]:
    return [SourceFile(f"{n}.parquet", 1, count, "f") for n, count in enumerate(rows)]


@given(ROWS, st.integers(1, 70))
def test_every_row_is_in_one_block(rows: list[int], size: int) -> None:
    files = files_of(rows)
    blocks = blocks_of(files, size)
    covered = [(b.path, row) for b in blocks for row in range(b.first, b.first + b.rows)]
    assert covered == [(file.path, row) for file in files for row in range(file.rows)]
    assert [block.number for block in blocks] == list(range(len(blocks)))
    names = [block.name for block in blocks]
    assert sorted(set(names)) == names
    assert all(0 < block.rows <= size for block in blocks) or sum(rows) == 0


def test_without_rows_there_is_one_empty_block() -> None:
    assert [(b.path, b.first, b.rows) for b in blocks_of(files_of([0, 0]), 9)] == [
        ("0.parquet", 0, 0)
    ]


def test_no_file_and_no_size_are_refused() -> None:
    for files, size in (([], 9), (files_of([1]), 0)):
        with pytest.raises(ValueError, match="make no blocks"):
            blocks_of(files, size)


def test_a_receipt_comes_back_and_what_is_none_does_not() -> None:
    receipt = Receipt("r", 3, rows=9, sha256="ab", node="n")
    assert Receipt.from_json(receipt.to_json()) == receipt
    for other in (b"", b"{", b"[]", b'{"run": "r"}', b'{"run": "r", "number": 1, "more": 2}'):
        assert Receipt.from_json(other) is None


SPEC = {
    "encoder": "e1",
    "heads": {"mood": {"version": 1, "digest": "d" * 64}},
    "files": [{"path": "a", "rows": 1}, {"path": "b", "rows": 2}],
    "block_rows": 10,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": "e2"}, "another encoder: e1, now e2"),
        ({"block_rows": 11}, "another block rows: 10, now 11"),
        (
            {"heads": {"mood": {"version": 2, "digest": "e" * 64}}},
            r"task mood was version 1 \(d{12}\), is version 2 \(e{12}\) now",
        ),
        ({"heads": {}}, "task mood was version 1 .*, is not asked now"),
        ({"files": [{"path": "a", "rows": 1}]}, "b is gone"),
        ({"files": [{"path": "a", "rows": 1}, {"path": "b", "rows": 3}]}, "b has changed"),
        ({"files": [*SPEC["files"], {"path": "c"}]}, "c was not there"),
        ({"files": SPEC["files"][::-1]}, "in another order"),
    ],
)
def test_another_run_is_refused_by_name(change: dict[str, object], says: str) -> None:
    with pytest.raises(Refused, match=says):
        compare(SPEC, SPEC | change)
    assert run_digest(SPEC) != run_digest(SPEC | change)


def test_the_same_run_is_not() -> None:
    compare(SPEC, dict(reversed(SPEC.items())))
    assert run_digest(SPEC) == run_digest(dict(reversed(SPEC.items())))
