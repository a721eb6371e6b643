"""A Ray cluster on this machine, of nodes that can be killed. Everything listens on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import process_state

# For this process and those that it starts. The second one, odd as its name is, makes Ray use the
# loopback address; nothing is reported to anybody, and no dashboard is started.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_worker_niceness": "0",  # by default 15, where other processes starve its workers
    "RAY_raylet_start_wait_time_s": "120",  # of a busy machine; 30 by default
}
STORE_BYTES = 100 * 2**20


class RayCluster:
    """A head without work, and nodes of one CPU each."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [
            self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            for _ in range(nodes)
        ]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def kill_node(self) -> None:
        """SIGKILL to a node's raylet and to the workers under it, as if its power went."""
        node = self._nodes.pop(0)
        raylet = node.all_processes["raylet"][0].process.pid
        for pid in [*_children(raylet), raylet]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[RayCluster]:
    """A cluster that ends with the block; `ENVIRONMENT` must be set before Ray is imported."""
    os.environ.update(ENVIRONMENT)
    cluster = RayCluster(nodes)
    try:
        yield cluster
    finally:
        cluster.stop()


def _children(pid: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [other for other in pids if process_state(other)[1:2] == [str(pid)]]
