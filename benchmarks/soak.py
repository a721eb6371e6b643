"""A long mixed load with a fault each minute, every answer checked, and what the processes hold.

    python -m benchmarks.soak [--minutes 20] [--fault-every 60]

Faults come from the table's list (`benchmarks.fault_list`) in an order drawn with a fixed seed;
those that need a clock of their own are left out. Resident memory, file descriptors, threads and
children of each process are noted every few seconds, and straight lines drawn through the second
half's memory: one for each stretch in which a process lives, its first half minute left out, since
a new one starts from little.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.checked import Load, watch_recovery
from benchmarks.fault_list import FAULTS, Fault
from benchmarks.faults import after, rounded
from benchmarks.machine import print_result
from benchmarks.processes import process_state
from benchmarks.topology import Topology

SEED = 5
LEAST_SAMPLES = 6  # of a line
STARTING_S = 30.0  # of a life, whose memory is that of loading and of the first requests
REPORT_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process holds. `at` in seconds from the start; `pid` changes when it is restarted."""

    at: float
    pid: int
    resident_mib: float
    descriptors: int
    threads: int
    children: int


@dataclass(frozen=True, slots=True)
class Slope:
    """A process's memory over time.

    Attributes:
        mib_a_minute: of straight lines with one slope and a start for each life of the process.
        error: its standard error, as if what is left were independent.
        samples: that the lines go through.
        lives: of the process within them.
    """

    mib_a_minute: float
    error: float
    samples: int
    lives: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--fault-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--sample-every", type=float, default=3.0, help="seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        topology = Topology(Path(folder) / "topology")
        try:
            topology.start()
            topology.learn()
            result = soak(topology, arguments)
        finally:
            topology.stop()
    print(markdown(result))
    print_result("soak", rounded(result))
    sys.exit(0 if result["passed"] else 1)


def soak(topology: Topology, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run it; the figures."""
    seconds = arguments.minutes * 60
    events: list[dict[str, Any]] = []
    with topology.load() as load, sampling(topology, arguments.sample_every) as samples:
        began = time.monotonic()
        reported = began
        for number, fault in enumerate(in_turn(topology)):
            due = began + (number + 0.5) * arguments.fault_every
            reported = wait_reporting(load, min(due, began + seconds), reported, began)
            if due >= began + seconds:
                break
            events.append(one_fault(fault, topology, load, began))
            print(json.dumps(rounded(events[-1])), flush=True)
        records = load.records
    outcomes = Counter(one.outcome for one in records)
    kinds = Counter(one.kind for one in records)
    wrong = sum(one.wrong for one in records)
    outside = [
        one for one in records if not one.ok and not within(one.began, one.ended, events, began)
    ]
    came_back = all(event["cached_after_s"] is not None for event in events)
    kept = not any(event["broken"] for event in events)
    return {
        "minutes": arguments.minutes,
        "passed": came_back and kept and not wrong and not outside,
        "requests": len(records),
        "kinds": dict(kinds),
        "outcomes": dict(outcomes),
        "wrong": wrong,
        "first_wrong": load.first_wrong,
        "failed_outside_of_faults": dict(Counter(one.outcome for one in outside)),
        "faults": events,
        "processes": {name: summary(some, seconds / 2) for name, some in samples.items()},
    }


def in_turn(topology: Topology) -> Iterator[Fault[Topology]]:
    """Faults without end: all in an order, then all in another."""
    chance = random.Random(SEED)
    possible = [
        fault
        for fault in FAULTS[1:]  # the first is none
        if not fault.with_clock and fault.lacking(topology) is None
    ]
    while True:
        yield from chance.sample(possible, len(possible))


def one_fault(
    fault: Fault[Topology], topology: Topology, load: Load, began: float
) -> dict[str, Any]:
    """Bring it about; what came of it. Whatever it does, the soak goes on."""
    topology.said, topology.broken = [], []
    started = ended = time.monotonic()
    try:
        with fault.cause(topology, load):
            time.sleep(fault.hold_s)
            ended = time.monotonic()
    except Exception as error:
        topology.broken.append(f"{type(error).__name__}: {error}"[:300])
    outcome = watch_recovery(load, started, ended)
    return {
        "fault": fault.name,
        "at_s": started - began,
        "until_s": time.monotonic() - began,
        **asdict(outcome),
        "said": topology.said,
        "broken": topology.broken,
    }


def within(start: float, end: float, events: Sequence[dict[str, Any]], began: float) -> bool:
    """Whether a request overlaps a fault or the recovery from it."""
    return any(
        start - began <= event["until_s"] and end - began >= event["at_s"] for event in events
    )


def wait_reporting(load: Load, until: float, reported: float, began: float) -> float:
    """Wait, with a line each minute; when the last one was."""
    while (now := time.monotonic()) < until:
        if now - reported >= REPORT_EVERY_S:
            late = load.since(reported)
            good = sum(one.ok for one in late)
            print(
                f"minute {(now - began) / 60:.0f}: {len(load.records)} requests; since the last "
                f"line {len(late)}, {good} of them right, "
                f"{sum(one.wrong for one in late)} wrong",
                flush=True,
            )
            reported = now
        time.sleep(min(0.5, until - now))
    return reported


@contextmanager
def sampling(topology: Topology, every_s: float) -> Iterator[dict[str, list[Sample]]]:
    """Samples of each process, growing in the background."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    over = threading.Event()
    began = time.monotonic()

    def take() -> None:
        while not over.wait(every_s):
            for name, process in topology.processes.items():
                if process.process is not None:
                    sample = sample_of(process.process.pid, time.monotonic() - began)
                    if sample is not None:
                        samples[name].append(sample)

    thread = threading.Thread(target=take, name="sampling")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def sample_of(pid: int, at: float) -> Sample | None:
    """What a process holds now; None if it is gone or ending."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        resident = int(status["VmRSS"].split()[0]) / 1024
        descriptors = len(list((folder / "fd").iterdir()))
        return Sample(at, pid, resident, descriptors, int(status["Threads"]), len(children_of(pid)))
    except (OSError, KeyError):
        return None


def children_of(pid: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [one for one in pids if process_state(one)[1:2] == [str(pid)]]


def summary(samples: Sequence[Sample], half_s: float) -> dict[str, Any]:
    """First, last, most of each, and the slope of memory over the second half."""
    first, last = samples[0], samples[-1]
    most = {
        name: max(getattr(one, name) for one in samples)
        for name in ("resident_mib", "descriptors", "threads", "children")
    }
    slope = slope_of([one for one in settled(samples) if one.at >= half_s])
    return {
        "first": asdict(first),
        "last": asdict(last),
        "most": most,
        "slope": None if slope is None else asdict(slope),
    }


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """Without the first seconds of each life."""
    begins: dict[int, float] = {}
    for one in samples:
        begins.setdefault(one.pid, one.at)
    return [one for one in samples if one.at - begins[one.pid] >= STARTING_S]


def slope_of(samples: Sequence[Sample]) -> Slope | None:
    """Least squares: one slope, and a start for each life (pid). None of too few samples."""
    lives: dict[int, list[Sample]] = defaultdict(list)
    for one in samples:
        lives[one.pid].append(one)
    whole = [some for some in lives.values() if len(some) >= LEAST_SAMPLES]
    if not whole:
        return None
    # Times and sizes from each life's own mean: what is left has one slope through the origin.
    times = np.concatenate([centred([one.at / 60 for one in some]) for some in whole])
    sizes = np.concatenate([centred([one.resident_mib for one in some]) for some in whole])
    spread = float(times @ times)
    slope = float(times @ sizes) / spread
    left = sizes - slope * times
    freedom = len(times) - len(whole) - 1
    error = math.sqrt(float(left @ left) / freedom / spread)
    return Slope(slope, error, len(times), len(whole))


def centred(values: Sequence[float]) -> NDArray[np.float64]:
    row = np.array(values, dtype=np.float64)
    return row - np.float64(row.mean())


def markdown(result: dict[str, Any]) -> str:
    """Two tables: faults, and processes."""
    lines = [
        f"{result['requests']} requests in {result['minutes']:g} minutes, {result['wrong']} wrong; "
        f"failed outside of faults: {result['failed_outside_of_faults'] or 'none'}",
        "",
        "| minute | fault | requests | failed | slowest | all answered | all cached |",
        "| ---: | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for one in result["faults"]:
        failed = ", ".join(f"{count} {status}" for status, count in one["failed"].items())
        lines.append(
            f"| {one['at_s'] / 60:.1f} | {one['fault']} | {one['requests']} | {failed} "
            f"| {one['slowest_s'] * 1e3:.0f} ms | {after(one['answered_after_s'])} "
            f"| {after(one['cached_after_s'])} |"
        )
    lines += [
        "",
        "| process | resident MiB, first, last, most | MiB a minute, second half | lives "
        "| descriptors, first, last, most | threads | children |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in result["processes"].items():
        slope = one["slope"]
        lines.append(
            f"| {name} | {three(one, 'resident_mib')} "
            f"| {f'''{slope['mib_a_minute']:.2f} ± {slope['error']:.2f}''' if slope else ''} "
            f"| {slope['lives'] if slope else ''} | {three(one, 'descriptors')} "
            f"| {three(one, 'threads')} | {three(one, 'children')} |"
        )
    return "\n".join(lines)


def three(process: dict[str, Any], name: str) -> str:
    parts = (process["first"][name], process["last"][name], process["most"][name])
    return ", ".join(f"{part:.0f}" for part in parts)


if __name__ == "__main__":
    main()
