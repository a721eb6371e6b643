"""bulk.source and bulk.storage: what is read, and that what is written is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk.plan import Block, Refused
from bulk.source import Source
from bulk.storage import PARTIAL, Folder

ROWS = 100


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of row groups of 17 rows, and one of a single group."""
    folder = tmp_path_factory.mktemp("source")
    table = pa.table({"id": range(ROWS), "text": [f"text {n}" for n in range(ROWS)]})
    pq.write_table(table, folder / "many.parquet", row_group_size=17)
    pq.write_table(table, folder / "one.parquet")
    return folder


@given(
    st.sampled_from(["many.parquet", "one.parquet"]),
    st.integers(0, ROWS),
    st.integers(0, ROWS),
)
def test_a_block_is_its_rows(grouped: Path, path: str, first: int, rows: int) -> None:
    rows = min(rows, ROWS - first)
    table = Source(str(grouped)).rows(Block(0, path, first, rows), ["text", "id"])
    assert table.equals(pq.read_table(grouped / path).slice(first, rows).select(["text", "id"]))


def test_rows_that_are_gone_are_refused(grouped: Path) -> None:
    with pytest.raises(Refused, match="row 100 is not there"):
        Source(str(grouped)).rows(Block(0, "one.parquet", 90, 11), ["text"])


def test_files_are_found_in_order_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b/2.parquet", "b/10.parquet", "a.parquet", "_x/c.parquet", ".d.parquet", "e.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": ["x"]}), tmp_path / name)
    files, _ = Source(str(tmp_path)).files("text", [])
    assert [file.path for file in files] == ["a.parquet", "b/10.parquet", "b/2.parquet"]
    (file,), _ = Source(str(tmp_path / "a.parquet")).files("text", [])
    assert (file.path, file.rows) == ("a.parquet", 1)
    assert file.size == (tmp_path / "a.parquet").stat().st_size


def test_another_content_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    seen = []
    for texts in (["one", "two"], ["one", "owt"], ["one", "two"]):
        pq.write_table(pa.table({"text": texts}), path)
        (file,), _ = Source(str(path)).files("text", [])
        seen.append(file)
    assert seen[0] == seen[2]
    assert seen[0].footer != seen[1].footer


@pytest.mark.parametrize(
    ("column", "others", "says"),
    [
        ("body", [], "has no column 'body' but id, text"),
        ("id", [], "column 'id' of .* holds int64, not text"),
        ("text", ["lang"], "has no column 'lang'"),
    ],
)
def test_columns_that_are_not_there(
    grouped: Path, column: str, others: list[str], says: str
) -> None:
    with pytest.raises(Refused, match=says):
        Source(str(grouped)).files(column, others)


def test_files_that_do_not_agree(tmp_path: Path) -> None:
    for name, kind in (("a", pa.int32()), ("b", pa.int64())):
        table = pa.table({"text": ["x"], "id": pa.array([1], kind)})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(Refused, match=r"'id' is int32 in a\.parquet and int64 in b\.parquet"):
        Source(str(tmp_path)).files("text", ["id"])


def test_what_is_no_parquet_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="holds no Parquet file"):
        Source(str(tmp_path)).files("text", [])
    (tmp_path / "a.parquet").write_bytes(b"not Parquet, and long enough to look")
    with pytest.raises(Refused, match=r"a\.parquet is no Parquet file"):
        Source(str(tmp_path)).files("text", [])


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: Any, tmp_path: Path) -> Folder:
    """Of a disk, by its path and as a URL, and of a file system that fsspec alone knows."""
    urls = {
        "path": str(tmp_path),
        "file": f"file://{tmp_path}",
        "memory": f"memory://{tmp_path.name}-{os.getpid()}",
    }
    return Folder(urls[request.param])


def test_a_folder_writes_replaces_and_deletes(folder: Folder) -> None:
    folder.write("a", b"one")
    folder.write("a", b"three")
    folder.write("under/b", b"22")
    assert folder.read("a") == b"three"
    assert folder.sizes() == {"a": 5}
    assert folder.sizes(recursive=True) == {"a": 5, "under/b": 2}
    assert folder.sizes("nowhere") == {}
    with folder.open("under/b") as file:
        assert file.size() == 2
    folder.delete("a")
    folder.delete("a")
    folder.delete_folder("under")
    folder.delete_folder("under")
    assert folder.sizes(recursive=True) == {}
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_what_was_not_moved_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a", b"old")

    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bulk.storage._to_disk", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert len(list((tmp_path / PARTIAL).iterdir())) == 1


def test_no_such_file_system() -> None:
    with pytest.raises(Refused, match="cannot open nowhere://") as refused:
        Folder("nowhere://user:secret@host/path")
    assert "secret" not in str(refused.value)
