"""How long a newcomer takes from a clone to a head of their own, by the README's commands.

    python3 benchmarks/five_minutes.py --data DATA [--rows 4000] [--no-pip-cache] [--keep]

DATA is a folder of tasks (ag_news/{train,test}.jsonl.gz). Clones what is committed into a new
folder, runs `make run` there (a new virtual environment), waits until the service is ready, and
goes the README's way by its own commands: ask, train on a CSV, read the report, train another
version, compare, promote, predict, roll back. Each step is timed, a command that fails ends the
run, and what the answers must say is checked. The standard library is enough: nothing is installed
yet.

What is not counted: making the CSV (a newcomer has one), and reading.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READY_S = 600
LABELS = ("World", "Sports", "Business", "Sci/Tech")


class Newcomer:
    """Somebody in a shell, with a clock."""

    def __init__(self, folder: Path, pip_cache: bool) -> None:
        self.clone = folder / "polyhead"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("POLYHEAD", "REDIS_URL", "PYTHONPATH", "VIRTUAL_ENV", "MAKE"))
        }
        self.environment = {
            **kept,
            "XDG_CONFIG_HOME": str(folder),
            "POLYHEAD_PORT": str(self.port),
            "POLYHEAD_URL": self.url,
            **({} if pip_cache else {"PIP_NO_CACHE_DIR": "1"}),
        }
        self.seconds: dict[str, float] = {}
        self.service: subprocess.Popen[bytes] | None = None

    def do(self, step: str, command: str, folder: Path | None = None) -> str:
        """Run a command as a shell would; its output, its time under `step`."""
        started = time.perf_counter()
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder or self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self._note(step, time.perf_counter() - started)
        if done.returncode:
            raise SystemExit(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """`make run` until the service is ready: installing is most of it."""
        started = time.perf_counter()
        log = (self.clone.parent / "service.log").open("wb")
        self.service = subprocess.Popen(
            ["make", "run"],
            cwd=self.clone,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not self._ready():
            ended = self.service.poll() is not None
            if ended or time.perf_counter() - started > READY_S:
                raise SystemExit(Path(log.name).read_text())
            time.sleep(0.2)
        self._note("make run, until ready", time.perf_counter() - started)

    def stop(self) -> None:
        """End the service and what it started."""
        if self.service is not None and self.service.poll() is None:
            os.killpg(self.service.pid, signal.SIGTERM)
            self.service.wait(timeout=60)

    def _ready(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def _note(self, step: str, seconds: float) -> None:
        self.seconds[step] = round(seconds, 2)
        print(f"{seconds:7.1f} s  {step}", flush=True)


def main() -> None:
    """Go the whole way once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--test-rows", type=int, default=1_000)
    parser.add_argument("--no-pip-cache", action="store_true", help="download all packages")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so stops the service
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="polyhead-"))
    one = Newcomer(folder, pip_cache=not arguments.no_pip_cache)
    try:
        _write_csv(arguments.data, "train", arguments.rows, folder / "news.csv")
        _write_csv(arguments.data, "test", arguments.test_rows, folder / "later.csv")
        found = walk(one)
    finally:
        one.stop()
        if not arguments.keep:
            shutil.rmtree(folder)
    total = round(sum(one.seconds.values()), 1)
    print(f"{total:7.1f} s  in all")
    sys.path.insert(0, str(ROOT))
    from benchmarks.machine import print_result

    pip = "empty" if arguments.no_pip_cache else "as it was"
    result = {
        "load_at_start": round(load, 1),
        "rows": arguments.rows,
        "pip_cache": pip,
        "seconds": one.seconds,
        "total_s": total,
    }
    print_result("five_minutes", {**result, **found})


def walk(one: Newcomer) -> dict[str, Any]:
    """The README's way; what the commands told."""
    one.do("git clone", f"git clone -q {ROOT} {one.clone}", folder=one.clone.parent)
    one.start()
    asked = one.do(
        "a first prediction",
        f"curl -sS {one.url}/v1/predict "
        """-d '{"inputs": ["My card still has not arrived!"]}'""",
    )
    answered = json.loads(asked)["data"][0]["predictions"]
    trained = _line(one.do("train on the CSV", ".venv/bin/polyhead train ../news.csv --task news"))
    one.do("read the report", ".venv/bin/polyhead report news --format table")
    later = _line(
        one.do("evaluate on later rows", ".venv/bin/polyhead evaluate ../later.csv --task news")
    )
    one.do("train another", ".venv/bin/polyhead train ../news.csv --task news --head mlp")
    compared = _line(one.do("compare", ".venv/bin/polyhead compare news"))
    promoted = _line(one.do("promote", ".venv/bin/polyhead promote news"))
    text = "'Oil prices fell for a third day as traders waited for the central bank'"
    answer = _line(one.do("predict", f".venv/bin/polyhead predict {text} --tasks news"))
    back = _line(one.do("roll back", ".venv/bin/polyhead rollback news"))
    assert promoted["active_version"] == answer["predictions"]["news"]["version"] == 2
    assert back["active_version"] == 1
    report = trained["job"]["report"]
    assert report["accuracy"] > 2 * report["majority_accuracy"]
    return {
        "tasks_asked_at_first": len(answered),
        "trained_on": report["n_train"],
        "accuracy": round(report["accuracy"], 4),
        "majority": round(report["majority_accuracy"], 4),
        "accuracy_on_later_rows": round(later["job"]["report"]["accuracy"], 4),
        "difference_of_second": round(compared["difference"]["mean"], 4),
        "answer": answer["predictions"]["news"]["label"],
    }


def _line(text: str) -> Any:
    (line,) = text.splitlines()
    return json.loads(line)


def _write_csv(data: Path, part: str, most: int, file: Path) -> None:
    with (
        gzip.open(data / "ag_news" / f"{part}.jsonl.gz", "rt") as rows,
        file.open("w", newline="") as out,
    ):
        writer = csv.writer(out)
        writer.writerow(["text", "label"])
        for _, line in zip(range(most), rows, strict=False):
            row = json.loads(line)
            writer.writerow([row["text"], LABELS[row["label"]]])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
