"""The whole service on a cluster (3 masters, 3 replicas): two encoders, two apis, one part killed.

    python -m benchmarks.cluster [--layouts string packed] [--node-timeout 2000]

A steady load whose every answer is compared with the one of when all was well; callers ask the
other api process where one cannot be reached, as a proxy before them does. A row's counts are from
a fault's begin until all is well again. Exit status 1 if a request failed, an answer was wrong, a
promise was not kept, or the service did not come back by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from app.cache.address import connect
from app.cache.layouts import Layout, open_store
from app.cache.server import ServerError
from benchmarks import causes
from benchmarks.checked import Load
from benchmarks.fault_list import STOP_LIMIT_S, Fault, nothing
from benchmarks.faults import Row, after, rounded, run_on
from benchmarks.machine import print_result
from benchmarks.nodes import CLUSTER, MASTERS, Node, first_slot, form_cluster, wait_for_successor
from benchmarks.processes import ServiceProcess
from benchmarks.topology import Served

COLUMNS = (
    "cache", "fault", "requests", "failed", "wrong", "asked again", "slowest",
    "slowest cached", "all answered", "all cached", "seen",
)  # fmt: skip
FORGET_TIMEOUT_S = 0.5
DRAIN_S = 2.0


class ClusterTopology(Served):
    """The service on a cluster.

    Args:
        folder: for data and logs.
        layout: of the cache.
        node_timeout_ms: after which the nodes take one for dead.
    """

    def __init__(self, folder: Path, layout: Layout, node_timeout_ms: int) -> None:
        arguments = (*CLUSTER, "--cluster-node-timeout", str(node_timeout_ms))
        self.nodes = [Node(folder / f"node{n}", *arguments) for n in range(2 * MASTERS)]
        form_cluster(self.nodes)
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.nodes)
        self.layout = layout
        common = {
            "REDIS_URL": self.url,
            "POLYHEAD_CACHE_LAYOUT": layout,
            "POLYHEAD_THREADS": "1",
            "POLYHEAD_DRAIN_S": str(DRAIN_S),
        }
        super().__init__(folder, common, encoders=2, retrying=True)

    def stop(self) -> None:
        super().stop()
        for node in self.nodes:
            node.kill()

    def forget(self, texts: list[str]) -> None:
        """Take texts' codes out of the cache, as far as its nodes answer."""
        digests = [bytes.fromhex(self.expected[text].key) for text in texts]

        async def delete() -> None:
            server = connect(self.url, FORGET_TIMEOUT_S)
            store = open_store(server, self.layout, ttl_s=0, timeout_s=FORGET_TIMEOUT_S)
            try:
                await store.delete(self.fingerprint, digests)
            finally:
                await store.close()

        with suppress(*ServerError):
            asyncio.run(delete())

    def master_of(self, slot: int) -> Node:
        """The node that holds a slot now."""
        port = self.nodes[-1].owner_of(slot)
        return next(node for node in self.nodes if node.port == port)


Cause = Callable[[ClusterTopology, Load], AbstractContextManager[None]]


@contextmanager
def master_killed(topology: ClusterTopology, _: Load) -> Iterator[None]:
    """Its replica takes over; started again it is a replica itself."""
    slot = first_slot(1)
    master = topology.master_of(slot)
    master.kill()
    seconds = wait_for_successor(topology.nodes, master, slot)
    topology.say(f"its slots had a master again after {seconds:.1f} s")
    yield
    threading.Thread(target=master.start).start()


@contextmanager
def master_frozen(topology: ClusterTopology, _: Load) -> Iterator[None]:
    slot = first_slot(0)
    master = topology.master_of(slot)
    master.process.send_signal(signal.SIGSTOP)
    try:
        seconds = wait_for_successor(topology.nodes, master, slot)
        topology.say(f"its slots had a master again after {seconds:.1f} s")
        yield
    finally:
        master.process.send_signal(signal.SIGCONT)


def killed(processes: Callable[[ClusterTopology], list[ServiceProcess]]) -> Cause:
    @contextmanager
    def cause(topology: ClusterTopology, _: Load) -> Iterator[None]:
        victim = processes(topology)[0]
        victim.kill()
        try:
            yield
        finally:
            victim.start(wait=False)

    return cause


def ended(processes: Callable[[ClusterTopology], list[ServiceProcess]]) -> Cause:
    """SIGTERM: it drains, and answers what it has."""

    @contextmanager
    def cause(topology: ClusterTopology, _: Load) -> Iterator[None]:
        victim = processes(topology)[0]
        assert victim.process is not None
        began = time.monotonic()
        victim.process.send_signal(signal.SIGTERM)
        try:
            victim.process.wait(STOP_LIMIT_S + DRAIN_S)
            topology.say(f"ended after {time.monotonic() - began:.1f} s")
            yield
        except subprocess.TimeoutExpired:
            topology.check(False, "it ends after SIGTERM")
            victim.kill()
        finally:
            victim.start(wait=False)

    return cause


def encoders(topology: ClusterTopology) -> list[ServiceProcess]:
    return topology.encoders


def apis(topology: ClusterTopology) -> list[ServiceProcess]:
    return topology.apis


@contextmanager
def encoder_frozen(topology: ClusterTopology, _: Load) -> Iterator[None]:
    with causes.frozen(topology.encoders[1]):
        yield


@contextmanager
def one_of_each_killed(topology: ClusterTopology, load: Load) -> Iterator[None]:
    """A master, an encoder and an api at the same moment."""
    with (
        killed(encoders)(topology, load),
        killed(apis)(topology, load),
        master_killed(topology, load),
    ):
        yield


FAULTS: list[Fault[ClusterTopology]] = [
    Fault("nothing", nothing),
    Fault("a master killed (-9), started again", master_killed),
    Fault("a master frozen (SIGSTOP)", master_frozen, hold_s=2.0),
    Fault("an encoder killed (-9), of two", killed(encoders), hold_s=3.0),
    Fault("an encoder frozen (SIGSTOP), of two", encoder_frozen, hold_s=6.0),
    Fault("an encoder SIGTERM, of two", ended(encoders), hold_s=1.0),
    Fault("an api killed (-9), of two", killed(apis), hold_s=2.0),
    Fault("an api SIGTERM, of two", ended(apis), hold_s=1.0),
    Fault("a master, an encoder and an api killed at once", one_of_each_killed),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", nargs="*", default=["string", "packed"])
    parser.add_argument("--node-timeout", type=int, default=2000, help="ms, of the cluster's nodes")
    parser.add_argument("--only", nargs="*", default=[""], help="faults with these in their names")
    arguments = parser.parse_args()
    chosen = [one for one in FAULTS if any(name in one.name for name in arguments.only)]
    began = time.monotonic()
    rows = {layout: run(layout, chosen, arguments.node_timeout) for layout in arguments.layouts}
    print(markdown(rows))
    every = [row for some in rows.values() for row in some]
    for row in every:
        for promise in row.broken:
            print(f"not kept: {row.fault}: {promise}")
    failed = sum(sum(row.outcome.failed.values()) for row in every if row.outcome)
    passed = all(row.passed for row in every) and not failed
    result = {
        "seconds": round(time.monotonic() - began),
        "node_timeout_ms": arguments.node_timeout,
        "passed": passed,
        "requests": sum(row.outcome.requests for row in every if row.outcome),
        "failed": failed,
        "rows": {layout: [rounded(asdict(row)) for row in some] for layout, some in rows.items()},
    }
    print_result("cluster", result)
    sys.exit(0 if passed else 1)


def run(layout: Layout, faults: Sequence[Fault[ClusterTopology]], node_timeout: int) -> list[Row]:
    """Faults one after another on one topology."""
    with tempfile.TemporaryDirectory() as folder:
        return run_on(faults, ClusterTopology(Path(folder) / "topology", layout, node_timeout))


def markdown(rows: dict[str, list[Row]]) -> str:
    """The table."""
    rule = ["---", "---", *["---:"] * (len(COLUMNS) - 3), "---"]
    lines = [list(COLUMNS), rule]
    lines += [cells(layout, row) for layout, some in rows.items() for row in some]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(layout: str, row: Row) -> list[str]:
    """A row of the table."""
    one = row.outcome
    assert one is not None
    failed = ", ".join(f"{count} × {what}" for what, count in sorted(one.failed.items()))
    return [
        layout,
        row.fault,
        str(one.requests),
        failed or "0",
        str(one.wrong),
        str(one.asked_again),
        f"{one.slowest_s * 1e3:.0f} ms",
        f"{one.slowest_cached_s * 1e3:.0f} ms",
        after(one.answered_after_s),
        after(one.cached_after_s),
        "; ".join(row.said),
    ]


if __name__ == "__main__":
    main()
