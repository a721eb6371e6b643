"""The table of faults: a steady load on real processes, each fault in turn, every answer checked.

    python -m benchmarks.faults [--only encoder api] [--list]

A row's counts are from the fault's begin until all is well again. Exit status 1 if an answer was
wrong, a promise was not kept, or the service did not come back by itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.causes import Clock
from benchmarks.checked import Load, Outcome, watch_recovery
from benchmarks.fault_list import FAULTS, Fault, Place
from benchmarks.machine import print_result
from benchmarks.topology import Topology

COLUMNS = (
    "fault", "requests", "503", "429", "504", "refused", "broken", "wrong",
    "slowest", "slowest cached", "all answered", "all cached", "seen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and what it did."""

    fault: str
    outcome: Outcome | None  # None: not run
    said: list[str]
    broken: list[str]

    @property
    def passed(self) -> bool:
        one = self.outcome
        came_back = one is None or one.cached_after_s is not None
        return came_back and not self.broken and (one is None or one.wrong == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="faults with these in their names")
    parser.add_argument("--list", action="store_true", help="print the names, run nothing")
    arguments = parser.parse_args()
    names = [name.lower() for name in arguments.only]
    chosen = [fault for fault in FAULTS if any(name in fault.name.lower() for name in names)]
    if arguments.list:
        print("\n".join(fault.name for fault in chosen))
        return
    started = time.monotonic()
    rows: list[Row] = []
    for with_clock in (False, True):  # a set clock needs processes started for it
        rows += run_all([fault for fault in chosen if fault.with_clock == with_clock], with_clock)
    print(markdown(rows))
    for row in rows:
        for promise in row.broken:
            print(f"not kept: {row.fault}: {promise}")
    passed = all(row.passed for row in rows)
    result = {
        "seconds": round(time.monotonic() - started),
        "passed": passed,
        "rows": [rounded(asdict(row)) for row in rows],
    }
    print_result("faults", result)
    sys.exit(0 if passed else 1)


def run_all(faults: Sequence[Fault[Topology]], with_clock: bool) -> list[Row]:
    """Faults one after another on one topology."""
    if not faults:
        return []
    if with_clock and Clock.library() is None:
        return [Row(fault.name, None, ["not run: no libfaketime"], []) for fault in faults]
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock(Path(folder)) if with_clock else None
        return run_on(faults, Topology(Path(folder) / "topology", clock))


def run_on(faults: Sequence[Fault[Place]], topology: Place) -> list[Row]:
    """Start a topology, and have the faults one after another under one load."""
    try:
        topology.start()
        topology.learn()
        with topology.load() as load:
            time.sleep(1)
            return [run_one(fault, topology, load) for fault in faults]
    finally:
        topology.stop()


def run_one(fault: Fault[Place], topology: Place, load: Load) -> Row:
    """Begin the fault, hold it, end it, and wait until all is well."""
    lacking = fault.lacking(topology)
    if lacking is not None:
        return Row(fault.name, None, [f"not run: {lacking}"], [])
    topology.said, topology.broken = [], []
    began = time.monotonic()
    with fault.cause(topology, load):
        time.sleep(fault.hold_s)
        ended = time.monotonic()  # what starting again takes is part of the recovery
    outcome = watch_recovery(load, began, ended)
    if outcome.wrong:
        topology.broken.append(load.first_wrong)
    row = Row(fault.name, outcome, topology.said, topology.broken)
    print(cells(row), flush=True)
    return row


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    rule = ["---", *["---:"] * (len(COLUMNS) - 2), "---"]
    lines = [list(COLUMNS), rule, *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row) -> list[str]:
    """A row of the table: times in ms and s, zeros left out but of what is wrong."""
    one = row.outcome
    if one is None:
        return [row.fault, *[""] * (len(COLUMNS) - 2), "; ".join(row.said)]
    others = sorted(set(one.failed) - set(COLUMNS))
    seen = [*row.said, *(f"{one.failed[status]} of status {status}" for status in others)]
    return [
        row.fault,
        str(one.requests),
        *(str(one.failed.get(status, "")) for status in COLUMNS[2:7]),
        str(one.wrong),
        f"{one.slowest_s * 1e3:.0f} ms",
        f"{one.slowest_cached_s * 1e3:.0f} ms",
        after(one.answered_after_s),
        after(one.cached_after_s),
        "; ".join(seen),
    ]


def after(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def rounded(value: Any) -> Any:
    """Floats to milliseconds, at any depth."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


if __name__ == "__main__":
    main()
