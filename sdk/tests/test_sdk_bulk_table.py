"""polyhead.cli._bulk_table and _bulk_parts: parts of any size, from any part on, add up."""

from __future__ import annotations

import json
import random

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")
import pyarrow.parquet as pq

from polyhead._columns import Column
from polyhead._each import Bad
from polyhead.cli._bulk_parts import Parts, written
from polyhead.cli._bulk_table import Source, bad_lines, merge_parts, write_part

COLUMNS = [Column("topic", "string"), Column("tags", "strings"), Column("price", "number")]


def source_of(folder, rows, group):
    texts = pa.array([f"text {n}" for n in range(rows)], pa.string()).dictionary_encode()
    table = pa.table({"n": pa.array(range(rows), pa.int64()), "text": texts})
    pq.write_table(table, folder / "in.parquet", row_group_size=group)
    return table, Source(folder / "in.parquet", "text")


def test_parts_add_up_from_any_part_on(tmp_path):
    rng = random.Random(5)
    for _ in range(60):
        rows, group, size = rng.randrange(60), rng.randrange(1, 40), rng.randrange(1, 25)
        table, source = source_of(tmp_path, rows, group)
        assert source.rows == rows
        first = rng.randrange(rows // size + 2)
        parts = list(source.parts(size, first))
        assert all(part.num_rows == size for part in parts[:-1])
        found = [n for part in parts for n in part["n"].to_pylist()]
        assert found == list(range(rows))[first * size :]
        texts = [text for part in parts for text in part["text"].to_pylist()]
        assert texts == table["text"].to_pylist()[first * size :]


def test_answers_of_every_kind_come_back(tmp_path):
    _, source = source_of(tmp_path, 5, 2)
    answers = [["a", ["x", "y"], 1.5], ["b", [], 0.0], [None, None, None], ["c", ["z"], -2.0]]
    answers.append(["d", [], 3.0])
    paths = []
    for number, part in enumerate(source.parts(2)):
        start = number * 2
        cells = answers[start : start + part.num_rows]
        errors = ["why" if row[0] is None else None for row in cells]
        paths.append(tmp_path / f"{number}.parquet")
        write_part(paths[-1], part, COLUMNS, cells, "error", errors)
    merge_parts(paths, tmp_path / "out.parquet", source)
    out = pq.read_table(tmp_path / "out.parquet")
    rows = [[row["topic"], row["tags"], row["price"]] for row in out.to_pylist()]
    assert rows == answers
    assert out["error"].to_pylist() == [None, None, "why", None, None]
    assert out["n"].to_pylist() == list(range(5))
    with pytest.raises(ValueError, match="the parts have 4 rows, the input has 5"):
        merge_parts(paths[:-1], tmp_path / "short.parquet", source)


def test_the_identity_tells_files_apart(tmp_path):
    _, first = source_of(tmp_path, 10, 4)
    before = first.identity()
    assert source_of(tmp_path, 10, 4)[1].identity() == before
    assert source_of(tmp_path, 10, 5)[1].identity() != before
    assert source_of(tmp_path, 11, 4)[1].identity() != before


def test_bad_rows_have_their_number_and_values(tmp_path):
    table, _ = source_of(tmp_path, 3, 3)
    (line,) = bad_lines(table, 100, {2: Bad("it is odd")})
    assert json.loads(line) == {
        "row": 102,
        "error": "it is odd",
        "values": {"n": 2, "text": "text 2"},
    }


def test_an_end_that_was_cut_off_anywhere_can_be_ended_again(tmp_path):
    """Killed while the parts become one file: the next run does it again."""
    out, bad = tmp_path / "out", tmp_path / "bad"
    parts = Parts(out, bad)
    run = {"input": 1}
    assert parts.begin(run, restart=False, overwrite=False) == 0
    for number in range(2):
        rows, side = parts.paths(number)
        with written(rows) as path:
            path.write_text(f"part {number}\n")
        with written(side) as path:
            path.write_text(f"{number}\n")
    (parts.folder / "000002.parquet.part").write_text("half")

    def merge(paths, path):
        path.write_text("".join(one.read_text() for one in paths))

    def cut_off(paths, path):
        merge(paths, path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.finish(2, cut_off)
    assert bad.exists()
    assert not out.exists()
    again = Parts(out, bad)
    assert again.begin(run, restart=False, overwrite=False) == 2
    assert again.bad_rows() == 2
    again.finish(2, merge)
    assert (out.read_text(), bad.read_text()) == ("part 0\npart 1\n", "0\n1\n")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bad", "out"]


def test_another_run_is_told_what_differs(tmp_path):
    parts = Parts(tmp_path / "out", tmp_path / "bad")
    parts.begin({"text_column": "text", "versions": {"a": 1}}, restart=False, overwrite=False)
    with pytest.raises(ValueError, match=r'another versions: \{"a": 1\}, now \{"a": 2\}'):
        parts.begin({"text_column": "text", "versions": {"a": 2}}, restart=False, overwrite=False)
    assert parts.begin({"versions": {"a": 2}}, restart=True, overwrite=False) == 0
