"""A cached text x 20 tasks over HTTP on one core, beside the same server doing no work.

    python -m benchmarks.cached_predict [--seconds 4] [--rounds 3]

Server and load generator are pinned to one core each. The bare server is the same FastAPI and
uvicorn with the same settings, whose handler reads the body and returns the very bytes that the
service answered; it has no middleware, no keys, no validation. Rounds alternate between the two.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import DEFAULT_HEADS
from app.tasks.ready import install_ready_heads
from app.tasks.registry import Registry
from benchmarks.load import LoadResult, post, run_load
from benchmarks.machine import print_result, spread
from benchmarks.service import free_port, pinned, start_service, wait_until, wait_until_ready
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        add_tasks(data)
        body = json.dumps({"inputs": [TEXT]}).encode()
        port, bare_port = free_port(), free_port()
        service = start_service(port, data, server_core)
        bare = None
        try:
            wait_until_ready(port)
            ask(port, body)
            answer = ask(port, body)
            parsed = json.loads(answer)
            assert parsed["usage"]["encoded"] == 0, parsed["usage"]
            assert len(parsed["data"][0]["predictions"]) == TASKS
            file = Path(folder) / "answer.json"
            file.write_bytes(answer)
            bare = pinned(server_core, [sys.executable, "-c", BARE, str(bare_port), str(file)])
            wait_until(lambda: ask(bare_port, body))
            results = measure(port, bare_port, post("/v1/predict", body), arguments)
        finally:
            for process in filter(None, (service, bare)):
                process.terminate()
                process.wait()
    print_result(
        "cached_predict", {"tasks": TASKS, "answer_bytes": len(answer), "by_connections": results}
    )


def measure(
    port: int, bare_port: int, request: bytes, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Alternate service and bare server; ratios by round."""
    results = []
    for connections in map(int, arguments.connections.split(",")):
        ours: list[LoadResult] = []
        bares: list[LoadResult] = []
        for _ in range(arguments.rounds):
            for target, collected in ((port, ours), (bare_port, bares)):
                collected.append(
                    run_load(target, request, connections=connections, seconds=arguments.seconds)
                )
        assert not any(result.errors for result in ours + bares)
        shares = [a.per_second / b.per_second for a, b in zip(ours, bares, strict=True)]
        middle = sorted(ours, key=lambda result: result.per_second)[len(ours) // 2]
        bare_middle = sorted(bares, key=lambda result: result.per_second)[len(bares) // 2]
        results.append(
            {"share_of_bare": spread(shares), "ours": asdict(middle), "bare": asdict(bare_middle)}
        )
        print(json.dumps(results[-1]), flush=True)
    return results


def add_tasks(data: Path) -> None:
    """The shipped heads, and random ones of 2 to 6 labels up to `TASKS` (the same cost)."""
    registry = Registry(data / "tasks")
    install_ready_heads(registry, DEFAULT_HEADS, data / "ready-heads.json")
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
