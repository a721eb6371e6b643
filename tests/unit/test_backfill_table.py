"""A backfill as Parquet against the same as lines of JSON; and what is cut off."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import CacheUnavailable
from app.tasks import backfill_table as module
from app.tasks.backfill import LineWriter
from app.tasks.backfill_table import TableWriter
from app.tasks.plans import Plan, make_plan
from models.codes import Codes
from tests.unit.test_plans import BITS, State, snapshot, state

__all__ = ["state"]  # a fixture

Rows = list[tuple[bytes, bytes]]


@pytest.fixture
def plan(state: State) -> Plan:
    """All kinds of tasks; one that is not always sure."""
    states = (
        state("mood", labels=("low", "high", "none"), min_confidence=0.7),
        state("topics", "multi_label", ("x", "y", "z", "ß")),
        state("price", "regression", ("value",)),
        state("kind", labels=("a", "b")),
    )
    return make_plan(snapshot(*states), None, "f1", BITS)


@pytest.fixture
def some_rows(random_codes: Callable[..., Codes]) -> Rows:
    codes = random_codes(1_000, BITS)
    return [(number.to_bytes(16, "big"), code.tobytes()) for number, code in enumerate(codes)]


def written(writer: Any, rows: Rows, step: int = 256) -> bytes:
    pieces = [writer.rows(rows[start : start + step]) for start in range(0, len(rows), step)]
    return b"".join([*pieces, writer.end(len(rows), 1.0)])


def as_line(plan: Plan, row: dict[str, Any], scores: bool) -> dict[str, Any]:
    """A row of the table as a line of JSON says it."""
    predictions: dict[str, Any] = {}
    for task in plan.tasks:
        value: Any = row[task.name]
        one: dict[str, Any]
        if task.kind == "regression":
            one = {"value": pytest.approx(value)}
        elif task.kind == "multi_label":
            one = {"labels": value}
        else:
            one = {"label": value, "score": row[f"{task.name}_score"]}
            if value is None:
                one["abstained"] = True
        if scores and task.kind != "regression":
            one["scores"] = row[f"{task.name}_scores"]
        predictions[task.name] = one | {"version": task.version}
    return {"key": row["key"], "predictions": predictions}


@pytest.mark.parametrize("scores", [False, True])
def test_the_table_says_what_the_lines_say(
    plan: Plan, some_rows: Rows, scores: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP", 300)
    data = written(TableWriter(plan, "f1", scores), some_rows)
    lines = written(LineWriter(plan, "f1", scores), some_rows).splitlines()
    expected = [json.loads(line) for line in lines[:-1]]
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.num_row_groups == 2
    found = file.read().to_pylist()
    assert [as_line(plan, row, scores) for row in found] == expected
    answers = [line["predictions"]["mood"] for line in expected]
    assert 0 < sum(answer["label"] is None for answer in answers) < len(answers)
    metadata = file.schema_arrow.metadata
    assert metadata[b"encoder"] == b"f1"
    assert json.loads(metadata[b"versions"]) == dict.fromkeys(plan.names, 3)


def test_no_codes_make_a_table_of_no_rows(plan: Plan) -> None:
    table = pq.read_table(io.BytesIO(written(TableWriter(plan, "f1", False), [])))
    assert table.num_rows == 0
    assert table.column_names[:3] == ["key", "mood", "mood_score"]


def test_what_is_cut_off_cannot_be_read(plan: Plan, some_rows: Rows) -> None:
    data = written(TableWriter(plan, "f1", False), some_rows)
    for cut in (4, 8, len(data) // 2, len(data) - 4, len(data) - 1):
        with pytest.raises((pa.ArrowInvalid, OSError)):
            pq.read_table(io.BytesIO(data[:cut]))


def test_memory_is_that_of_a_row_group(
    plan: Plan, some_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP", 200)
    writer = TableWriter(plan, "f1", False)
    sizes = [len(writer.rows(some_rows[start : start + 100])) for start in range(0, 1_000, 100)]
    assert all(sizes[1::2])  # each group goes out when it is full
    assert sum(sizes[0::2]) == sizes[0] <= 4
    assert len(writer.end(1_000, 1.0)) > 4


def test_a_server_that_went_away_cuts_it_off(plan: Plan, some_rows: Rows) -> None:
    writer = TableWriter(plan, "f1", False)
    writer.rows(some_rows)
    with pytest.raises(CacheUnavailable, match="gone"):
        writer.broken(CacheUnavailable("gone"))


def test_columns_of_one_name_are_refused(state: State) -> None:
    tasks = snapshot(state("mood"), state("mood_score"))
    with pytest.raises(ValueError, match="'mood_score'"):
        TableWriter(make_plan(tasks, None, "f1", BITS), "f1", False)
    with pytest.raises(ValueError, match="'key'"):
        TableWriter(make_plan(snapshot(state("key")), None, "f1", BITS), "f1", False)


def test_rows_need_not_be_bytes_of_ours(plan: Plan) -> None:
    """Random digests, as real ones are."""
    random = np.random.default_rng(0)
    rows = [(random.bytes(16), random.bytes(BITS // 8)) for _ in range(50)]
    table = pq.read_table(io.BytesIO(written(TableWriter(plan, "f1", False), rows)))
    assert [bytes.fromhex(key) for key in table["key"].to_pylist()] == [key for key, _ in rows]
