"""Open-loop load from a quarter of what the service can do to three times as much.

    python -m benchmarks.overload [--seconds 12] [--kind short] [--data DATA] [--tasks emotion]
        [--shares 0.25,0.5,0.9,1,1.5,2,3] [--hits 0,50,90,100] [--fair]

For each share of texts that are in the cache: the capacity by a closed loop, then single texts at
random times (Poisson) at shares of it, whatever comes back. A table, and one JSON line last.
Latencies are from the moment a request was due. The load generator has a part of the same cores:
`late_ms` is how long after they were due requests were sent (99%). Where that is a good part of
`p99_ms`, or `sent` (the share of the load that it managed) is under 1, it is what was measured.

`--fair`: while one key floods the service at three times its capacity, another asks a text now and
then; what the second one sees, beside what it sees alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import Answered, answer_all, post
from benchmarks.machine import print_result
from benchmarks.service import free_port, start_service, wait_until_ready
from benchmarks.texts import texts_of

KNOWN = 500  # texts that are in the cache
CONNECTIONS = 1000
CLOSED = 64
KEYS = {"flood": "key-of-the-flood", "small": "key-of-the-small"}
COLUMNS = (
    "hits", "load", "texts_a_s", "sent", "answered_a_s", "p50_ms", "p99_ms", "refused",
    "refusal_p50_ms", "refusal_p99_ms", "other", "late_ms", "memory_mib",
)  # fmt: skip


class Texts:
    """Requests of texts, a share of which the service knows."""

    def __init__(self, base: list[str], tasks: list[str], key: str = "") -> None:
        self._base = base
        self._numbers = itertools.count()
        self._tasks = tasks
        self._key = key
        self._random = np.random.default_rng(0)
        self.known = [self._request(text) for text in base[:KNOWN]]

    def requests(self, count: int, hits: float) -> list[bytes]:
        """So many requests; the rest of the texts are new each time."""
        is_hit: NDArray[np.bool_] = self._random.random(count) < hits
        known = self._random.integers(KNOWN, size=count).tolist()
        return [
            self.known[place] if hit else self._request(self._new())
            for hit, place in zip(is_hit.tolist(), known, strict=True)
        ]

    def _new(self) -> str:
        number = next(self._numbers)
        return f"{number} {self._base[number % len(self._base)]}"

    def _request(self, text: str) -> bytes:
        body = json.dumps({"inputs": text, "tasks": self._tasks}).encode()
        request = post("/v1/predict", body)
        if not self._key:
            return request
        return request.replace(b"\r\n", f"\r\nauthorization: Bearer {self._key}\r\n".encode(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kind", choices=("short", "mixed", "long"), default="short")
    parser.add_argument("--tasks", default="emotion,sentiment,humour")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--shares", default="0.25,0.5,0.9,1,1.5,2,3")
    parser.add_argument("--hits", default="0,50,90,100")
    parser.add_argument("--fair", action="store_true")
    arguments = parser.parse_args()
    base = texts_of(arguments.kind, 3000, arguments.data)
    tasks = arguments.tasks.split(",")
    keys = {"POLYHEAD_API_KEYS": ",".join(f"predict:{key}" for key in KEYS.values())}
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        extra = keys if arguments.fair else {}
        process = start_service(port, Path(folder) / "data", None, **extra)
        try:
            wait_until_ready(port)
            if arguments.fair:
                result = fairness(arguments, port, base, tasks)
            else:
                result = table(arguments, port, process.pid, Texts(base, tasks))
        finally:
            process.terminate()
            process.wait()
    print_result("overload", {"kind": arguments.kind, "seconds": arguments.seconds, **result})


def table(arguments: argparse.Namespace, port: int, pid: int, texts: Texts) -> dict[str, Any]:
    """All shares of hits, and of the capacity."""
    answer_all(port, texts.known, connections=CLOSED)
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    capacities = {}
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + " ---: |" * len(COLUMNS))
    for percent in map(int, arguments.hits.split(",")):
        hits = percent / 100
        capacity = capacities[percent] = capacity_of(port, texts, hits, arguments.seconds / 4)
        for share in map(float, arguments.shares.split(",")):
            rate = capacity * share
            count = max(10, int(rate * arguments.seconds))
            due = np.cumsum(random.exponential(1 / rate, count)).tolist()
            requests = texts.requests(count, hits)
            done = answer_all(port, requests, connections=CONNECTIONS, due=due)
            rows.append(row_of(percent, share, rate, due[-1], done, pid))
            print("| " + " | ".join(str(rows[-1][name]) for name in COLUMNS) + " |", flush=True)
            time.sleep(1)
    return {"capacity": {str(p): round(c, 1) for p, c in capacities.items()}, "rows": rows}


def capacity_of(port: int, texts: Texts, hits: float, seconds: float) -> float:
    """Texts a second of a closed loop that warms up first."""
    answer_all(port, texts.requests(300, hits), connections=CLOSED)
    trial = answer_all(port, texts.requests(600, hits), connections=CLOSED)
    count = max(600, int(seconds * 600 / trial.seconds))
    done = answer_all(port, texts.requests(count, hits), connections=CLOSED)
    return done.statuses.count(200) / done.seconds


def row_of(
    hits: int, share: float, rate: float, last_due: float, done: Answered, pid: int
) -> dict[str, Any]:
    """One line of the table."""
    count = len(done.statuses)
    taken, refused = list(_ms(done, 200)), list(_ms(done, 429))
    return {
        "hits": hits,
        "load": share,
        "texts_a_s": round(rate, 1),
        "sent": round(last_due / max(last_due, last_due + done.lates[-1]), 3),
        "requests": count,
        "answered_a_s": round(len(taken) / done.seconds, 1),
        "p50_ms": _percentile(taken, 50),
        "p99_ms": _percentile(taken, 99),
        "refused": round(len(refused) / count, 4),
        "refusal_p50_ms": _percentile(refused, 50),
        "refusal_p99_ms": _percentile(refused, 99),
        "other": count - len(taken) - len(refused),
        "late_ms": _percentile([seconds * 1e3 for seconds in done.lates], 99),
        "memory_mib": memory_mib(pid),
    }


def fairness(
    arguments: argparse.Namespace, port: int, base: list[str], tasks: list[str]
) -> dict[str, Any]:
    """A text now and then: alone, and beside a flood of another key."""
    small = Texts(base, tasks, KEYS["small"])
    flood = Texts(base[::-1], tasks, KEYS["flood"])
    capacity = capacity_of(port, flood, 0.0, arguments.seconds / 4)
    gap = 0.05
    asked = max(10, int(arguments.seconds / gap))
    alone = answer_all(
        port, small.requests(asked, 0.0), connections=CLOSED,
        due=[number * gap for number in range(asked)],
    )  # fmt: skip
    rate = 3 * capacity
    count = int(rate * arguments.seconds)
    due = [*(number / rate for number in range(count)), *(n * gap for n in range(asked))]
    order = np.argsort(due, kind="stable")
    requests = [*flood.requests(count, 0.0), *small.requests(asked, 0.0)]
    is_small = order >= count
    done = answer_all(
        port, [requests[place] for place in order], connections=CONNECTIONS,
        due=[due[place] for place in order],
    )  # fmt: skip
    result: dict[str, Any] = {"capacity": round(capacity, 1), "flood": round(rate, 1)}
    for name, seen in {
        "alone": alone, "beside the flood": _part(done, is_small), "flood itself":
        _part(done, ~is_small),
    }.items():  # fmt: skip
        taken = list(_ms(seen, 200))
        result[name] = {
            "requests": len(seen.statuses),
            "answered": len(taken),
            "refused": seen.statuses.count(429),
            "p50_ms": _percentile(taken, 50),
            "p99_ms": _percentile(taken, 99),
        }
        print(name, json.dumps(result[name]), flush=True)
    return result


def _part(done: Answered, chosen: NDArray[np.bool_]) -> Answered:
    places = np.flatnonzero(chosen)
    return Answered(
        done.seconds,
        [done.latencies[p] for p in places],
        [done.statuses[p] for p in places],
        [done.lates[p] for p in places],
    )


def _ms(done: Answered, status: int) -> Iterator[float]:
    for seconds, one in zip(done.latencies, done.statuses, strict=True):
        if one == status:
            yield seconds * 1e3


def _percentile(values: list[float], q: float) -> float | None:
    return round(float(np.percentile(values, q)), 1) if values else None


def memory_mib(pid: int) -> float:
    """Resident memory of a process, without its Valkey."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


if __name__ == "__main__":
    main()
