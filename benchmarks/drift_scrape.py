"""What a scrape pays for drift, where as many tasks as are kept have full windows.

    python -m benchmarks.drift_scrape [--tasks 256] [--bits 1536] [--rounds 5]

No two tasks share a code, which is the worst there is. Median times of bringing the gauges up to
date (`/metrics`, `/v1/stats`) and of all tasks' figures with their answers (`/v1/drift`): at first,
and after a pause in which nothing came, what comes in 15 s of much traffic, or all codes anew.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from app.metrics import Metrics
from app.tasks.drift import DriftWatch
from app.tasks.drift_windows import PER_SECOND, WINDOW
from app.tasks.plans import Plan
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from benchmarks.machine import print_result
from models.codes import Codes
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead
from models.reference import make_reference

SCRAPE_S = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=256)
    parser.add_argument("--bits", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(FolderStorage(Path(folder)))
        names = fill(registry, arguments.tasks, arguments.bits)
        figures = asyncio.run(measure(registry, names, arguments.bits, arguments.rounds))
    print_result("drift_scrape", vars(arguments) | {"seconds": figures})


def random_codes(count: int, bits: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (count, bits // 8), np.uint8)


def fill(registry: Registry, tasks: int, bits: int) -> list[str]:
    """Tasks of one head each."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(bits, 4)).astype(np.float32)
    head = LinearHead(weight, np.zeros(4, dtype=np.float32))
    labels = ("a", "b", "c", "d")
    reference = make_reference(random_codes(500, bits, 0), np.full(4, 125))
    manifest = HeadManifest(
        kind="single_label",
        head="linear",
        labels=labels,
        bits=bits,
        encoders={"encoder": {}},
        created_at=0.0,
    )
    names = [f"task-{number}" for number in range(tasks)]
    for name in names:
        registry.create(name, "single_label", list(labels), None)
        registry.add_version(name, manifest, head, reference=reference)
        registry.activate(name, 1)
    return names


async def measure(
    registry: Registry, names: list[str], bits: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Median seconds by what came since the last look, for each way of looking."""
    seeds = iter(range(1, 1_000_000))

    def send(watch: DriftWatch, count: int) -> None:
        for name in names if count else ():
            codes = [code.tobytes() for code in random_codes(count, bits, next(seeds))]
            watch.note(Plan((), None, (), (name,)), "encoder", codes)

    async def timed(look: Callable[[], Awaitable[Any]]) -> float:
        started = time.perf_counter()
        await look()
        return time.perf_counter() - started

    traffic = int(SCRAPE_S * PER_SECOND)
    cases = {
        "nothing new": (0, 0.0),
        "all new, at once": (WINDOW, 0.0),
        f"{traffic} new, {SCRAPE_S} s later": (traffic, SCRAPE_S),
        f"all new, {SCRAPE_S} s later": (WINDOW, SCRAPE_S),
    }
    found: dict[str, dict[str, float]] = {}
    for way in ("gauges", "all figures"):
        watch = DriftWatch(registry, Metrics(), per_second=1e9)

        async def look(watch: DriftWatch = watch, way: str = way) -> None:
            if way == "gauges":
                await watch.publish()
            else:
                await watch.reports(registry.snapshot.tasks.values())

        send(watch, WINDOW)
        times = {"first": await timed(look)}
        for what, (count, pause_s) in cases.items():
            seconds = []
            for _ in range(rounds):
                send(watch, count)
                await asyncio.sleep(pause_s)
                seconds.append(await timed(look))
            times[what] = median(seconds)
        found[way] = {what: round(seconds, 4) for what, seconds in times.items()}
        print(way, found[way], flush=True)
    return found


if __name__ == "__main__":
    main()
