"""Stored codes x 20 tasks through /v1/tasks/{task}/backfill: texts/s, memory, passes.

    python -m benchmarks.backfill [--codes 1000000]

Random codes are written straight into the embedded Valkey, under the fingerprint of the encoder
that runs; what a head makes of a code costs the same for any. As lines of
JSON, whose reader counts them and keeps none, then as Parquet, whose reader writes a file.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
from redis import Redis

from app.cache.keys import StoredCode, encode_value
from app.cache.string_store import server_key
from benchmarks.cached_predict import TASKS, add_tasks
from benchmarks.machine import print_result
from benchmarks.service import free_port, start_service, wait_until_ready

BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=1_000_000)
    arguments = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        add_tasks(data)
        port = free_port()
        service = start_service(port, data, core)
        try:
            wait_until_ready(port)
            info = get_json(port, "/info")["encoder"]
            fill(data, info["fingerprint"], info["bits"] // 8, arguments.codes)
            names = [task["name"] for task in get_json(port, "/v1/tasks")["data"]]
            before = memory_mb(service.pid)
            result = {
                "codes": arguments.codes,
                "tasks": TASKS,
                "service_mb_before": before["VmRSS"],
                "ndjson": measured(run_lines, port, names, service.pid),
                "parquet": measured(run_table, port, names, service.pid),
            }
        finally:
            service.terminate()
            service.wait()
    print_result("backfill", result)


def fill(data: Path, fingerprint: str, code_bytes: int, count: int) -> None:
    """Store random codes."""
    random = np.random.default_rng(0)
    redis = Redis(unix_socket_path=str(data / "valkey" / "valkey.sock"))
    for start in range(0, count, BATCH):
        values = {}
        for _ in range(min(BATCH, count - start)):
            digest, code = random.bytes(16), StoredCode(random.bytes(code_bytes), 12, False)
            values[server_key(fingerprint, digest)] = encode_value(fingerprint, digest, code)
        redis.mset(values)
    redis.close()


def measured(
    run: Callable[[int, list[str]], tuple[int, int]], port: int, names: list[str], pid: int
) -> dict[str, float]:
    """A backfill's time, and the memory of the service at its peak so far."""
    started = time.perf_counter()
    texts, size = run(port, names)
    seconds = time.perf_counter() - started
    return {
        "texts": texts,
        "megabytes": round(size / 1e6, 1),
        "seconds": round(seconds, 1),
        "texts_per_second": round(texts / seconds),
        "service_mb_peak": memory_mb(pid)["VmHWM"],
    }


def run_table(port: int, names: list[str]) -> tuple[int, int]:
    """Write a backfill to a Parquet file: its rows and bytes."""
    url = f"http://127.0.0.1:{port}/v1/tasks/{names[0]}/backfill"
    body = {"tasks": names[1:], "format": "parquet"}
    with (
        tempfile.NamedTemporaryFile(suffix=".parquet") as file,
        httpx.stream("POST", url, json=body, timeout=60) as response,
    ):
        response.raise_for_status()
        for chunk in response.iter_raw():
            file.write(chunk)
        file.flush()
        return pq.ParquetFile(file.name).metadata.num_rows, file.tell()


def run_lines(port: int, names: list[str]) -> tuple[int, int]:
    """Read a backfill as lines: how many, and their bytes."""
    url = f"http://127.0.0.1:{port}/v1/tasks/{names[0]}/backfill"
    lines = size = 0
    held = b""
    with httpx.stream("POST", url, json={"tasks": names[1:]}, timeout=60) as response:
        response.raise_for_status()
        for chunk in response.iter_raw():
            lines += chunk.count(b"\n")
            size += len(chunk)
            held = (held + chunk)[-4_096:]
    last = json.loads(held.splitlines()[-1])
    assert last["object"] == "backfill.done", last
    assert last["encoded"] == 0, last
    return lines - 1, size


def get_json(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def memory_mb(pid: int) -> dict[str, int]:
    """Resident memory of a process, now and at its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(pairs[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")}


if __name__ == "__main__":
    main()
