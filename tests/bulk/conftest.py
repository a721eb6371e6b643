"""Bulk runs as people start them: processes of their own, with the shipped encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.ray_cluster import ENVIRONMENT
from benchmarks.texts import texts_of
from tests.conftest import ROOT, wait_for

ROWS, BLOCK_ROWS = 2_400, 100
BAD = {7: None, 1_300: "", 2_399: None}


@dataclass(frozen=True)
class Bulk:
    """A folder with an input, and runs over it."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "in"

    def start(
        self, out: str, *options: str, command: str = "predict", **environment: str
    ) -> subprocess.Popen[str]:
        known = {k: v for k, v in os.environ.items() if not k.startswith(("POLYHEAD", "REDIS_URL"))}
        paths = [str(self.source), str(self.folder / out)]
        size = [] if command == "verify" else ["--block-rows", str(BLOCK_ROWS)]
        return subprocess.Popen(
            [sys.executable, "-m", "bulk", command, *paths, *size, *options],
            cwd=ROOT,
            env={
                **known,
                **ENVIRONMENT,
                "POLYHEAD_DATA_DIR": str(self.folder / "data"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, out: str, *options: str, **environment: Any) -> dict[str, Any]:
        """The report of a run that ends well."""
        process = self.start(out, *options, **environment)
        told, errors = process.communicate()
        assert process.returncode == 0, errors
        report: dict[str, Any] = json.loads(told)
        return report

    def blocks(self, out: str) -> dict[str, bytes]:
        """What is done of an output."""
        return {path.name: path.read_bytes() for path in (self.folder / out).glob("block-*")}

    def wait_for_blocks(self, process: subprocess.Popen[str], out: str, count: int) -> None:
        """Until so many are done, while the run goes on."""

        def there() -> bool:
            if process.poll() is not None:
                raise AssertionError(process.communicate()[1])
            return len(list((self.folder / out).glob("block-*"))) >= count

        wait_for(there, 600, f"{count} blocks")

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        time.sleep(0.1)


@pytest.fixture(scope="session")
def bulk_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk")
    texts: list[str | None] = list(texts_of("short", ROWS, None))
    for row, bad in BAD.items():
        texts[row] = bad
    (folder / "in").mkdir()
    for number, start in enumerate(range(0, ROWS, ROWS // 2)):
        table = pa.table({"text": pa.array(texts[start : start + ROWS // 2], pa.string())})
        pq.write_table(table, folder / "in" / f"{number}.parquet", row_group_size=333)
    return folder


@pytest.fixture(scope="session")
def bulk(bulk_folder: Path) -> Bulk:
    return Bulk(bulk_folder)


@pytest.fixture(scope="session")
def single(bulk: Bulk) -> dict[str, bytes]:
    """The output of one process that nothing happened to."""
    report = bulk.run("single", "--single")
    assert (report["rows"], report["bad_rows"]) == (ROWS, len(BAD))
    return bulk.blocks("single")


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Processes that are gone at the end of the test, whatever happens."""
    processes: list[subprocess.Popen[str]] = []

    def keep(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        processes.append(process)
        return process

    yield keep
    for process in processes:
        process.kill()
        process.communicate()
