"""Cached texts over HTTP on one core, beside the same server doing no work.

    python -m benchmarks.cached_predict [--seconds 4] [--rounds 3] [--texts 1,256]

Single texts x 20 tasks, and 256 texts a request x 20 tasks and x 1; of these all codes in the
process's front cache, and all in Valkey, with no front cache. Server (with its Valkey) and load
generator are pinned to one core each. The bare server is the same FastAPI and
uvicorn with the same settings, whose handler reads the body and returns the very bytes that the
service answered; it has no middleware, no keys, no validation. Rounds alternate between the two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from app.settings import DEFAULT_HEADS
from app.tasks.ready import install_ready_heads
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from benchmarks.load import LoadResult, post, run_load
from benchmarks.machine import print_result, spread
from benchmarks.service import free_port, pinned, start_service, wait_until, wait_until_ready
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead

Where = Literal["front", "valkey"]
TASKS = 20
TEXT = "The new release fixed the login problem, thank you all for the quick help!"
BARE = """
import sys, uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response
answer = open(sys.argv[2], "rb").read()
app = FastAPI()
@app.post("/v1/predict")
async def predict(request: Request) -> Response:
    await request.body()
    return Response(answer, media_type="application/json")
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False,
            server_header=False)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request.

    Attributes:
        texts: in each request.
        tasks: asked about each text.
        where: the codes are; in front of Valkey the service's own front cache is off.
        connections: measured one after another.
    """

    texts: int
    tasks: int
    where: Where
    connections: tuple[int, ...]

    def body(self) -> bytes:
        names = [f"random-{number}" for number in range(self.tasks)]
        tasks = None if self.tasks == TASKS else names
        texts = [TEXT] if self.texts == 1 else [f"{number} {TEXT}" for number in range(self.texts)]
        return json.dumps({"inputs": texts, "tasks": tasks}).encode()


CASES = (
    Case(1, TASKS, "front", (1, 16, 64)),
    Case(256, TASKS, "front", (1, 4)),
    Case(256, TASKS, "valkey", (1, 4)),
    Case(256, 1, "front", (1, 4)),
    Case(256, 1, "valkey", (1, 4)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", default="1,256", help="sizes of requests to measure")
    arguments = parser.parse_args()
    sizes = set(map(int, arguments.texts.split(",")))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    results = []
    for where, front_mb in (("front", "64"), ("valkey", "0")):
        cases = [case for case in CASES if case.where == where and case.texts in sizes]
        with tempfile.TemporaryDirectory() as folder:
            if cases:
                results += run(cases, Path(folder), cores[0], front_mb, arguments)
    print_result("cached_predict", {"results": results})


def run(
    cases: list[Case], folder: Path, core: int, front_mb: str, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Cases of one service."""
    add_tasks(folder / "data")
    port = free_port()
    service = start_service(port, folder / "data", core, POLYHEAD_CACHE_FRONT_MB=front_mb)
    try:
        wait_until_ready(port)
        return [
            result
            for case in cases
            for result in against_bare(case, port, folder / "answer.json", core, arguments)
        ]
    finally:
        stop(service)


def against_bare(
    case: Case, port: int, file: Path, core: int, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """The service beside a bare server that returns what it answers."""
    body = case.body()
    ask(port, body)
    answer = ask(port, body)
    parsed = json.loads(answer)
    assert parsed["usage"]["encoded"] == 0, parsed["usage"]
    assert len(parsed["data"][-1]["predictions"]) == case.tasks
    file.write_bytes(answer)
    bare_port = free_port()
    bare = pinned(core, [sys.executable, "-c", BARE, str(bare_port), str(file)])
    try:
        wait_until(lambda: ask(bare_port, body))
        request = post("/v1/predict", body)
        for connections in case.connections:
            result = {
                "texts": case.texts, "tasks": case.tasks, "where": case.where,
                "answer_bytes": len(answer),
                **measure((port, bare_port), request, case.texts, connections, arguments),
            }  # fmt: skip
            print(json.dumps(result), flush=True)
            yield result
    finally:
        stop(bare)


def measure(
    ports: tuple[int, int],
    request: bytes,
    texts: int,
    connections: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Alternate service and bare server; ratios by round, and of each the median round."""
    rounds: tuple[list[LoadResult], list[LoadResult]] = ([], [])
    for _ in range(arguments.rounds):
        for port, collected in zip(ports, rounds, strict=True):
            collected.append(
                run_load(port, request, connections=connections, seconds=arguments.seconds)
            )
    assert not any(result.errors for collected in rounds for result in collected)
    shares = [ours.per_second / bare.per_second for ours, bare in zip(*rounds, strict=True)]
    ours, bare = (
        sorted(collected, key=lambda result: result.per_second)[len(collected) // 2]
        for collected in rounds
    )
    return {
        "texts_a_s": spread([texts * result.per_second for result in rounds[0]], 0),
        "share_of_bare": spread(shares),
        "ours": asdict(ours),
        "bare": asdict(bare),
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def add_tasks(data: Path) -> None:
    """The shipped heads, and random ones of 2 to 6 labels up to `TASKS` (the same cost)."""
    registry = Registry(FolderStorage(data / "tasks"))
    install_ready_heads(registry, DEFAULT_HEADS)
    ready = next(iter(registry.snapshot.tasks.values())).active_manifest
    assert ready is not None
    random = np.random.default_rng(0)
    for number in range(TASKS - len(registry.snapshot.tasks)):
        labels = tuple(f"label-{label}" for label in range(2 + number % 5))
        name = f"random-{number}"
        registry.create(name, "single_label", list(labels), None)
        weight = random.normal(0, 0.025, (ready.bits, len(labels))).astype(np.float32)
        head = LinearHead(weight, np.zeros(len(labels), dtype=np.float32))
        manifest = HeadManifest(
            "single_label", "linear", labels, ready.bits, ready.encoders, time.time()
        )
        registry.activate(name, registry.add_version(name, manifest, head))


def ask(port: int, body: bytes) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", body)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: bytes = response.read()
    return answer


if __name__ == "__main__":
    main()
