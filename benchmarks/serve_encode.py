"""Uncached texts a second over HTTP: in process, through the service, and through Infinity.

    python -m benchmarks.serve_encode [--data DATA] [--kind short] [--texts 1024] [--rounds 3]
        [--infinity PYTHON]

Closed loop, alternating in one run on the same two cores, the load generator on them too: requests
of 32 texts at 4 connections, single texts at 32. Every round has texts of its own, so that nothing
is cached. `--infinity` is the Python of an environment with infinity-emb[torch,server].

    python -m benchmarks.serve_encode --open-loop [--seconds 20]

Open loop: single texts at 25, 50, 90 and 150% of the capacity that a closed loop has just shown:
latency, refusals, queue wait, batch sizes, padding, memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from app.settings import DEFAULT_ENCODER
from benchmarks.load import Answered, answer_all, post
from benchmarks.machine import print_result, spread
from benchmarks.service import free_port, start_service, wait_until, wait_until_ready
from benchmarks.texts import texts_of
from models.artifact import resolve_backbone
from models.bulk import encode_texts
from models.loading import load_encoder
from models.training.backbones import BACKBONE

FORMS = {"32 texts, 4 connections": (32, 4), "1 text, 32 connections": (1, 32)}
SHARES_OF_CAPACITY = (0.25, 0.5, 0.9, 1.5)
OPEN_CONNECTIONS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kind", choices=("short", "mixed", "long"), default="short")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--infinity", type=Path)
    parser.add_argument("--open-loop", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = start_service(port, Path(folder) / "data")
        try:
            wait_until_ready(port)
            if arguments.open_loop:
                open_loop(arguments, port, process.pid)
            else:
                closed_loop(arguments, port)
        finally:
            process.terminate()
            process.wait()


def closed_loop(arguments: argparse.Namespace, port: int) -> None:
    """Ours in process and over HTTP, and Infinity, in turn."""
    encoder = load_encoder(DEFAULT_ENCODER, device="cpu", threads=arguments.threads)
    encoder.warm_up()
    runners: dict[str, Callable[[list[str]], Any]] = {
        "in process": lambda texts: encode_texts(encoder, texts)
    }
    for name, (size, connections) in FORMS.items():
        runners[f"service, {name}"] = _asker(port, "/v1/encode", "inputs", size, connections)
    with infinity(arguments.infinity) as other:
        if other is not None:
            for name, (size, connections) in FORMS.items():
                runners[f"infinity, {name}"] = _asker(
                    other, "/embeddings", "input", size, connections
                )
        rates = _rounds(runners, arguments)
    base = rates["in process"]
    result: dict[str, Any] = {
        "kind": arguments.kind,
        "profile": encoder.info.profile,
        "texts_per_second": {name: spread(values, 1) for name, values in rates.items()},
        "share_of_in_process": {
            name: _ratio(values, base) for name, values in rates.items() if "service" in name
        },
    }
    if arguments.infinity:
        result["times_infinity"] = {
            name: _ratio(rates[f"service, {name}"], rates[f"infinity, {name}"]) for name in FORMS
        }
    print_result("serve_encode", result)


def open_loop(arguments: argparse.Namespace, port: int, pid: int) -> None:
    """Poisson arrivals of single texts at shares of the capacity."""
    pool = iter(texts_of(arguments.kind, 60_000, arguments.data))
    random = np.random.default_rng(0)

    def requests(count: int) -> list[bytes]:
        return [_post("/v1/encode", "inputs", [next(pool)]) for _ in range(count)]

    warm = answer_all(port, requests(1500), connections=64)
    full = answer_all(port, requests(3000), connections=64)
    capacity = len(full.statuses) / full.seconds
    print(json.dumps({"capacity": round(capacity, 1), "warm": round(1500 / warm.seconds, 1)}))
    rows = []
    for share in SHARES_OF_CAPACITY:
        count = int(capacity * share * arguments.seconds)
        due = np.cumsum(random.exponential(1 / (capacity * share), count)).tolist()
        before = scrape(port)
        done = answer_all(port, requests(count), connections=OPEN_CONNECTIONS, due=due)
        rows.append(_row(share, done, before, scrape(port), pid))
        print(json.dumps(rows[-1]), flush=True)
        time.sleep(2)
    print_result("serve_encode_open_loop", {"capacity": round(capacity, 1), "rows": rows})


def _row(
    share: float, done: Answered, before: dict[str, float], after: dict[str, float], pid: int
) -> dict[str, Any]:
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    taken = [ms * 1e3 for ms, s in zip(done.latencies, done.statuses, strict=True) if s == 200]
    refused = [ms * 1e3 for ms, s in zip(done.latencies, done.statuses, strict=True) if s == 429]
    real = grown["polyhead_encoded_tokens_total"]
    padding = grown["polyhead_padding_tokens_total"]
    return {
        "share_of_capacity": share,
        "requests": len(done.statuses),
        "answered_per_second": round(len(taken) / done.seconds, 1),
        "p50_ms": _percentile(taken, 50),
        "p99_ms": _percentile(taken, 99),
        "refused": round(len(refused) / len(done.statuses), 4),
        "refusal_p50_ms": _percentile(refused, 50),
        "refusal_p99_ms": _percentile(refused, 99),
        "other": sum(status not in (200, 429) for status in done.statuses),
        "queue_p50_ms": _from_buckets(grown, "polyhead_queue_duration_seconds", 0.5),
        "queue_p99_ms": _from_buckets(grown, "polyhead_queue_duration_seconds", 0.99),
        "texts_a_batch": round(
            grown["polyhead_batch_texts_sum"] / grown["polyhead_batch_texts_count"], 1
        ),
        "padding_share": round(padding / (real + padding), 4),
        "memory_mib": _memory(pid),
    }


def _rounds(
    runners: dict[str, Callable[[list[str]], Any]], arguments: argparse.Namespace
) -> dict[str, list[float]]:
    count = arguments.texts
    pool = texts_of(arguments.kind, (arguments.rounds + 1) * count, arguments.data)
    rates: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(arguments.rounds + 1):  # the first round warms up
        texts = pool[number * count : (number + 1) * count]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            # The service meets a text once a form: a mark in front makes it another text.
            own = [f"{list(names).index(name)} {text}" for text in texts]
            started = time.perf_counter()
            runners[name](own)
            rate = count / (time.perf_counter() - started)
            if number:
                rates[name].append(rate)
                print(json.dumps({"round": number, name: round(rate, 1)}), flush=True)
    return rates


def _asker(
    port: int, path: str, field: str, size: int, connections: int
) -> Callable[[list[str]], None]:
    def ask(texts: list[str]) -> None:
        chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
        requests = [_post(path, field, chunk) for chunk in chunks]
        done = answer_all(port, requests, connections=connections)
        if set(done.statuses) != {200}:
            raise RuntimeError(f"{path} answered {sorted(set(done.statuses))}")

    return ask


@contextmanager
def infinity(python: Path | None) -> Iterator[int | None]:
    """Infinity's torch engine on the same weights, as it comes; its port."""
    if python is None:
        yield None
        return
    port = free_port()
    command = [str(python.parent / "infinity_emb"), "v2", "--engine", "torch", "--device", "cpu"]
    command += ["--model-id", resolve_backbone(BACKBONE)]
    command += ["--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        health = f"http://127.0.0.1:{port}/health"
        wait_until(lambda: urllib.request.urlopen(health, timeout=5).read(), 180)
        yield port
    finally:
        process.terminate()
        process.wait()


def scrape(port: int) -> dict[str, float]:
    """All samples of /metrics; histogram buckets as `name_bucket{le}`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            le = sample.labels.get("le")
            name = sample.name if le is None else f"{sample.name}{{{le}}}"
            samples[name] = samples.get(name, 0.0) + sample.value
    return samples


def _from_buckets(grown: dict[str, float], name: str, quantile: float) -> float:
    """A quantile in milliseconds, linear within its histogram bucket."""
    edges = sorted(
        (float(key.split("{")[1][:-1]), value)
        for key, value in grown.items()
        if key.startswith(f"{name}_bucket{{")
    )
    wanted = quantile * grown[f"{name}_count"]
    low, below = 0.0, 0.0
    for edge, count in edges:
        if count >= wanted:
            part = (wanted - below) / max(count - below, 1e-9)
            return round(1e3 * (low + part * (min(edge, 60.0) - low)), 1)
        low, below = edge, count
    return float("nan")


def _percentile(values: list[float], q: float) -> float | None:
    return round(float(np.percentile(values, q)), 1) if values else None


def _memory(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    return spread([a / b for a, b in zip(ours, theirs, strict=True)], 2)


def _post(path: str, field: str, texts: list[str]) -> bytes:
    return post(path, json.dumps({field: texts}).encode())


if __name__ == "__main__":
    main()
