"""polyhead._saving: answers go to a file, the last line stays out, and no half file is left."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhead import ProtocolError, Unavailable
from polyhead._saving import SavingLines, SavingTable

LINES = [json.dumps({"key": str(number)}) + "\n" for number in range(5)]
DONE = json.dumps({"object": "backfill.done", "texts": 5}) + "\n"


@given(st.lists(st.integers(1, 60), max_size=8))
def test_however_the_answer_is_cut(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("saving")
    data = ("".join(LINES) + DONE).encode()
    with SavingLines(folder / "out") as file:
        for size in sizes:
            file.write(data[:size])
            data = data[size:]
        file.write(data)
        assert file.last()["texts"] == 5
    assert (folder / "out").read_text() == "".join(LINES)
    assert [path.name for path in folder.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ('{"error": {"message": "gone", "code": "cache_unavailable"}}\n', Unavailable),
        ('{"object": "backf', ProtocolError),
        ("", None),
    ],
)
def test_what_did_not_end_well_leaves_nothing(tmp_path, end, error):
    (tmp_path / "out").write_text("former")

    def save():
        with SavingLines(tmp_path / "out") as file:
            file.write(("".join(LINES) + end).encode())
            return file.last()

    if error is None:  # The last line is a result: for the reader of it to refuse.
        assert save() == {"key": "4"}
        return
    with pytest.raises(error):
        save()
    assert (tmp_path / "out").read_text() == "former"
    assert len(list(tmp_path.iterdir())) == 1


@given(st.lists(st.integers(1, 6), max_size=8))
def test_a_table_is_whole_with_its_footer(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("saving")
    whole = data = b"PAR1 columns, footer, PAR1"
    with SavingTable(folder / "out.parquet") as file:
        for size in sizes:
            file.write(data[:size])
            data = data[size:]
        file.write(data)
        assert file.last() == b"PAR1"
    assert (folder / "out.parquet").read_bytes() == whole
    with pytest.raises(Unavailable), SavingTable(folder / "cut.parquet") as file:
        file.write(whole[:-1])
        file.last()
    assert [path.name for path in folder.iterdir()] == ["out.parquet"]
