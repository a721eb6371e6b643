"""`polyhead-bulk --single`: the same answers and the same cache as the service; kills; refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.bulk.conftest import BAD, BLOCK_ROWS, ROWS, Bulk
from tests.conftest import ROOT, ServiceProcess, ValkeyProcess

SOME = 256


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder).slice(0, SOME).to_pylist()
    return rows


def test_the_services_answers_from_the_services_cache(
    bulk: Bulk,
    single: dict[str, bytes],
    valkey: ValkeyProcess,
    processes: Callable[..., ServiceProcess],
    tmp_path: Path,
) -> None:
    texts = [row["text"] for row in rows_of(bulk.source)]
    good = [text for n, text in enumerate(texts) if n not in BAD]
    service = processes("all", tmp_path, REDIS_URL=valkey.url)
    answers = service.predict(good)
    assert answers["usage"]["encoded"] == len(good)
    report = bulk.run("cached", "--single", REDIS_URL=valkey.url)
    assert report["passes_saved"]["cache"] == len(good)
    assert report["encoded"] == ROWS - len(BAD) - len(good)
    assert bulk.blocks("cached") == single  # from the cache or not
    written = [row for row in rows_of(bulk.folder / "cached") if row["error"] is None]
    for row, answer in zip(written, answers["data"], strict=True):
        assert row["key"] == answer["key"]
        for task, prediction in answer["predictions"].items():
            assert row[task] == prediction["label"]
            assert row[f"{task}_score"] == prediction["score"]
    # And what the run encoded is there for the service.
    others = pq.read_table(bulk.source).column("text").to_pylist()[400:440]
    assert service.predict(others)["usage"]["encoded"] == 0


def test_a_killed_run_goes_on(
    bulk: Bulk,
    single: dict[str, bytes],
    started: Callable[[subprocess.Popen[str]], subprocess.Popen[str]],
) -> None:
    process = started(bulk.start("killed", "--single"))
    bulk.wait_for_blocks(process, "killed", 6)
    bulk.kill(process)
    done = bulk.blocks("killed")
    assert 6 <= len(done) < len(single)
    report = bulk.run("killed", "--single")
    assert report["resumed_rows"] == len(done) * BLOCK_ROWS
    assert bulk.blocks("killed") == single
    assert bulk.run("killed", command="verify") == {
        "rows": ROWS,
        "input_rows": ROWS,
        "bad_rows": len(BAD),
        "blocks": len(single),
        "problems": [],
    }


def test_another_encoder_is_refused(bulk: Bulk) -> None:
    bulk.run("codes", "--single", command="encode")
    process = bulk.start("codes", "--single", command="encode", POLYHEAD_MAX_TOKENS="64")
    out, errors = process.communicate()
    assert process.returncode == 4
    assert "the output holds a run with another encoder" in errors
    assert out == ""


def test_verify_says_what_is_missing(bulk: Bulk, single: dict[str, bytes]) -> None:
    bulk.run("holes", "--single", "--tasks", "sentiment")
    (bulk.folder / "holes" / "block-00000003.parquet").unlink()
    process = bulk.start("holes", command="verify")
    out, _ = process.communicate()
    assert process.returncode == 1
    assert "block-00000003.parquet is not done" in out


@pytest.mark.parametrize(
    ("options", "environment", "status", "says"),
    [
        (["--single", "--text-column", "body"], {}, 4, "has no column 'body'"),
        (["--single", "--tasks", "nothing"], {}, 4, "no task 'nothing'"),
        (["--single", "--tasks", ","], {}, 2, "--tasks names none"),
        (["--single"], {"REDIS_URL": "ftp://nowhere"}, 2, "settings: "),
        (["--single", "--block-rows", "0"], {}, 2, "block-rows"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    bulk: Bulk, options: list[str], environment: dict[str, str], status: int, says: str
) -> None:
    process = bulk.start("refused", *options, **environment)
    out, errors = process.communicate()
    assert process.returncode == status
    assert says in errors
    assert "Traceback" not in errors
    assert out == ""


def test_without_its_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from bulk.__main__ import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr == "polyhead-bulk: typer is not installed: pip install '.[bulk]'\n"
