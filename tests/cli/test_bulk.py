"""`polyhead bulk`: every row once, whatever happens in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="bulk needs pyarrow")
import pyarrow.parquet as pq  # noqa: E402
from polyhead import Client  # noqa: E402

from tests.cli.conftest import COMMAND, LISTENING, Polyhead, environment  # noqa: E402
from tests.cli.gate import Gate  # noqa: E402
from tests.conftest import ServiceProcess  # noqa: E402

TASKS = ("-t", "sentiment,abuse")


@pytest.fixture
def gate(service: ServiceProcess) -> Iterator[Gate]:
    gate = Gate(service.url)
    yield gate
    gate.close()


def table(rows: int, bad: dict[int, Any] | None = None) -> Any:
    """Rows with other columns than texts; few distinct texts, so that few are encoded."""
    mark = uuid.uuid4().hex
    texts = [f"{mark}: parcel {number % 40} is late" for number in range(rows)]
    for place, value in (bad or {}).items():
        texts[place] = value
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "text": pa.array(texts, pa.string()),
            "tags": pa.array([["a", str(number)] for number in range(rows)]),
        }
    )


def start(gate: Gate, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*LISTENING, "bulk", "in.parquet", "out.parquet", *TASKS, *arguments],
        env=environment(folder, POLYHEAD_URL=gate.url),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def stop_in_the_middle(gate: Gate, folder: Path, sig: int, requests: int) -> tuple[int, bytes]:
    """Let a run make some requests, wait until the next one is held, and send it a signal."""
    gate.left, gate.held = requests, threading.Semaphore(0)
    process = start(gate, folder, "--part-rows", "100", "--concurrency", "2")
    assert gate.held.acquire(timeout=120)
    process.send_signal(sig)
    _, said = process.communicate()
    gate.left = 10**9
    return process.returncode, said


def check(folder: Path, source: Any, service: ServiceProcess) -> Any:
    """The output has the input's rows, each with the answers that the client gets."""
    out = pq.read_table(folder / "out.parquet")
    assert out.num_rows == source.num_rows
    assert out.select(source.schema.names).equals(source)
    texts = source["text"].to_pylist()
    with Client(service.url) as client:
        known = sorted({text for text in texts if text and text.strip() and len(text) < 1000})
        expected = dict(zip(known, client.predict(known, ["sentiment", "abuse"]), strict=True))
    for row in out.to_pylist():
        if row["error"] is None:
            answer = expected[row["text"]]
            for task in ("sentiment", "abuse"):
                assert row[task] == answer[task].label
                assert row[f"{task}_score"] == answer[task].score
        else:
            assert row["sentiment"] is row["sentiment_score"] is row["abuse"] is None
    return out


def leftovers(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if "out.parquet" in one.name)


def test_every_row_once_with_bad_ones_aside(
    polyhead: Polyhead, tmp_path: Path, service: ServiceProcess
) -> None:
    bad = {0: None, 7: "", 250: " \n", 299: "word " * 200_000}
    source = table(300, bad)
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=70)
    ran = polyhead("bulk", "in.parquet", "out.parquet", *TASKS, "--part-rows", 64)
    assert ran.status == 0, ran.err
    done = ran.one
    assert (done["rows"], done["bad_rows"], done["resumed_rows"]) == (300, 4, 0)
    assert done["bad_file"] == "out.parquet.bad.jsonl"
    out = check(tmp_path, source, service)
    assert out.schema.names == [
        *source.schema.names,
        *("sentiment", "sentiment_score", "abuse", "abuse_score", "error"),
    ]
    errors = {n: error for n, error in enumerate(out["error"].to_pylist()) if error}
    assert errors.keys() == bad.keys()
    lines = [json.loads(one) for one in (tmp_path / "out.parquet.bad.jsonl").open()]
    assert {one["row"]: one["error"] for one in lines} == errors
    assert [one["values"]["id"] for one in lines] == sorted(bad)
    assert leftovers(tmp_path) == ["out.parquet", "out.parquet.bad.jsonl"]


def test_a_killed_run_goes_on(gate: Gate, tmp_path: Path, service: ServiceProcess) -> None:
    bad = {50: None, 450: None, 950: None}
    source = table(1000, bad)
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=130)
    for requests in (3, 4):
        status, _ = stop_in_the_middle(gate, tmp_path, signal.SIGKILL, requests)
        assert status == -signal.SIGKILL
        assert not (tmp_path / "out.parquet").exists()
        assert (tmp_path / "out.parquet.parts" / "000000.parquet").exists()
    process = start(gate, tmp_path, "--part-rows", "100")
    printed, said = process.communicate()
    assert process.returncode == 0, said
    assert b"going on after" in said
    done = json.loads(printed)
    assert 0 < done["resumed_rows"] < 1000
    assert done["resumed_rows"] % 100 == 0
    assert (done["rows"], done["bad_rows"]) == (1000, 3)
    check(tmp_path, source, service)
    lines = [json.loads(one) for one in (tmp_path / "out.parquet.bad.jsonl").open()]
    assert [one["row"] for one in lines] == sorted(bad)
    assert leftovers(tmp_path) == ["out.parquet", "out.parquet.bad.jsonl"]


def test_ctrl_c_says_how_to_go_on(gate: Gate, tmp_path: Path, service: ServiceProcess) -> None:
    source = table(500)
    pq.write_table(source, tmp_path / "in.parquet")
    status, said = stop_in_the_middle(gate, tmp_path, signal.SIGINT, 2)
    assert status == -signal.SIGINT, said
    assert b"Traceback" not in said
    assert b"the same command goes on" in said
    process = start(gate, tmp_path, "--part-rows", "100")
    assert process.wait() == 0
    check(tmp_path, source, service)


def test_one_run_at_a_time(gate: Gate, tmp_path: Path) -> None:
    pq.write_table(table(500), tmp_path / "in.parquet")
    gate.left = 1
    first = start(gate, tmp_path, "--part-rows", "100")
    assert gate.held.acquire(timeout=120)
    second = start(gate, tmp_path, "--part-rows", "100")
    _, said = second.communicate()
    assert second.returncode == 2
    assert b"another run" in said
    first.kill()
    first.communicate()


def test_another_run_is_not_gone_on_with(
    polyhead: Polyhead, gate: Gate, tmp_path: Path, service: ServiceProcess
) -> None:
    pq.write_table(table(300), tmp_path / "in.parquet")
    stop_in_the_middle(gate, tmp_path, signal.SIGKILL, 2)
    command = ("bulk", "in.parquet", "out.parquet", "--part-rows", 100)
    other = polyhead(*command, "-t", "sentiment")
    assert other.status == 2
    assert "--restart" in other.err
    source = table(200)
    pq.write_table(source, tmp_path / "in.parquet")
    changed = polyhead(*command, *TASKS)
    assert changed.status == 2
    assert "another input" in changed.err
    assert polyhead(*command, *TASKS, "--restart").one["resumed_rows"] == 0
    check(tmp_path, source, service)


def test_an_output_is_not_replaced_by_mistake(
    polyhead: Polyhead, tmp_path: Path, service: ServiceProcess
) -> None:
    source = table(20, {3: None})
    pq.write_table(source, tmp_path / "in.parquet")
    command = ("bulk", "in.parquet", "out.parquet", *TASKS)
    assert polyhead(*command).status == 0
    again = polyhead(*command)
    assert again.status == 2
    assert "--overwrite" in again.err
    same = polyhead("bulk", "in.parquet", "in.parquet", "--overwrite")
    assert same.status == 2
    better = table(20)
    pq.write_table(better, tmp_path / "in.parquet")
    assert polyhead(*command, "--overwrite").status == 0
    check(tmp_path, better, service)
    assert leftovers(tmp_path) == ["out.parquet"]  # the bad rows of before are gone too


def test_a_promotion_in_the_middle_stops_the_run(
    polyhead: Polyhead, gate: Gate, tmp_path: Path, task: str, service: ServiceProcess
) -> None:
    """Half a file of one version and half of another would be a trap."""
    examples = [(f"{word} {n}", word) for word in ("left", "right") for n in range(20)]
    with Client(service.url) as client:
        for seed in (0, 1):
            client.tasks.train(task, examples, seed=seed, wait=True)
        pq.write_table(table(300), tmp_path / "in.parquet")
        gate.left = 2
        command = [*COMMAND, "bulk", "in.parquet", "out.parquet", "-t", task, "--part-rows", "100"]
        process = subprocess.Popen(
            command, env=environment(tmp_path, POLYHEAD_URL=gate.url), cwd=tmp_path
        )
        assert gate.held.acquire(timeout=120)
        process.kill()
        process.wait()
        client.tasks.activate(task, 2)
        stopped = polyhead(*command[len(COMMAND) :])
        assert stopped.status == 2
        assert "versions" in stopped.err
        client.tasks.activate(task, 1)
        assert polyhead(*command[len(COMMAND) :]).status == 0
        client.tasks.delete(task)


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_sizes_at_the_edges(
    polyhead: Polyhead, tmp_path: Path, service: ServiceProcess, rows: int
) -> None:
    source = table(rows)
    pq.write_table(source, tmp_path / "in.parquet")
    ran = polyhead("bulk", "in.parquet", "out.parquet", *TASKS, "--part-rows", 100)
    assert ran.status == 0, ran.err
    if rows:
        check(tmp_path, source, service)
    else:
        assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_files_that_cannot_be_used(polyhead: Polyhead, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("text\nno Parquet\n")
    pq.write_table(pa.table({"body": ["a"], "n": [1]}), tmp_path / "in.parquet")
    pq.write_table(pa.table({"text": ["a"], "abuse": ["b"]}), tmp_path / "taken.parquet")
    for arguments, said in (
        (("text.parquet",), "no Parquet file"),
        (("in.parquet",), "no column 'text' but body, n"),
        (("in.parquet", "--text-column", "n"), "not strings"),
        (("taken.parquet",), "--prefix"),
    ):
        ran = polyhead("bulk", arguments[0], "out.parquet", *TASKS, *arguments[1:])
        assert ran.status == 2
        assert said in ran.err
    ran = polyhead("bulk", "taken.parquet", "out.parquet", *TASKS, "--prefix", "our_")
    assert ran.status == 0
    assert "our_abuse" in pq.read_schema(tmp_path / "out.parquet").names


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_service_may_be_started_anew(
    processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    service = processes("all", tmp_path / "service")
    gate = Gate(service.url)
    source = table(400)
    pq.write_table(source, tmp_path / "in.parquet")
    gate.left = 2
    process = start(gate, tmp_path, "--part-rows", "100", "--concurrency", "1")
    assert gate.held.acquire(timeout=120)
    service.kill()
    service.start()
    gate.left = 10**9
    gate.opened.set()  # what was held breaks, and is asked again
    printed, said = process.communicate()
    assert process.returncode == 0, said
    assert json.loads(printed)["rows"] == 400
    check(tmp_path, source, service)
    gate.close()
