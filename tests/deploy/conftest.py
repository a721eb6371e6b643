"""The compose file's topology, as plain processes, and callers of it."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed (extra `deploy`)")

from benchmarks.processes import wait_for
from scripts.topology import Topology

PATIENCE_S = 30


@pytest.fixture(scope="session")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Proxy, two apis, two encoders, Redis, Prometheus where there is one; shared by tests.

    With TOPOLOGY_IMAGES=TAG api and encoder are started from the built images.
    """
    if os.geteuid() != 0:
        pytest.skip("names are looked up in a mount namespace, at port 53: needs root")
    for program in ("haproxy", "unshare"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    started = Topology(
        tmp_path_factory.mktemp("topology"), {"encoder": 2}, os.environ.get("TOPOLOGY_IMAGES")
    )
    try:
        started.start()
        yield started
    finally:
        started.stop()


def apis_in_turn(topology: Topology) -> int:
    """How many apis the proxy asks now."""
    address = topology.replicas["proxy"][0].address
    text = httpx.get(f"http://{address}:8405/metrics", trust_env=False).text
    name = 'haproxy_backend_active_servers{proxy="%s"} '
    counts = [
        int(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith((name % "reading", name % "changing"))
    ]
    return min(counts)


def until_all_are_asked(topology: Topology) -> None:
    """Start anew what a test has ended, and wait until the proxy asks every api."""
    for name in ("encoder", "api"):
        for replica in topology.replicas[name]:
            if not replica.running:
                replica.start()
                replica.wait_until_ready()
    count = len(topology.replicas["api"])
    wait_for(lambda: apis_in_turn(topology) == count, 30, f"{count} apis in the proxy's turn")


class Callers:
    """Clients that ask the proxy without a pause, and without a retry, until the end of `asking`.

    Attributes:
        outcomes: how often each status (with an error's code), or exception's name, came.
        texts: a number for texts that were never asked before.
    """

    def __init__(self, topology: Topology) -> None:
        self.outcomes: Counter[str] = Counter()
        self.texts = itertools.count()
        self._topology = topology
        self._over = threading.Event()

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self._topology.keys['manage']}"}
        return httpx.Client(
            base_url=self._topology.url, headers=headers, timeout=PATIENCE_S, trust_env=False
        )

    @contextmanager
    def asking(self, threads: int = 4) -> Iterator[None]:
        workers = [threading.Thread(target=self._ask) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._over.set()
            for worker in workers:
                worker.join()

    def wait_for(self, answers: int) -> None:
        """Wait until so many more requests have ended."""
        until, wanted = time.monotonic() + PATIENCE_S, self.outcomes.total() + answers
        while self.outcomes.total() < wanted and time.monotonic() < until:
            time.sleep(0.02)

    def none_failed_for_good(self) -> bool:
        """Whether all were answered, but for a rare one that a client asks again.

        A process that is killed within an answer breaks it off, and the proxy cannot take back what
        it passed on; and where the cores are overloaded the proxy may miss both apis for a moment,
        which it says with `retry-after`. Seen in one of five runs, beside other tests: one request
        each, of some 1,100. The SDK repeats both.
        """
        failed = {name: count for name, count in self.outcomes.items() if name != "200"}
        return failed.keys() <= {"RemoteProtocolError", "503 no_api"} and sum(failed.values()) <= 2

    def _ask(self) -> None:
        with self.client() as client:
            for turn in itertools.count():
                if self._over.is_set():
                    return
                # Most are cached: it is the proxy and the apis that are looked at.
                new = turn % 5 == 0
                text = f"new text {next(self.texts)} {id(self)}" if new else f"known {turn % 7}"
                try:
                    answer = client.post("/v1/predict", json={"inputs": text})
                    outcome = str(answer.status_code)
                    if answer.status_code != 200:
                        outcome += f" {answer.json()['error']['code']}"
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
                time.sleep(0.005)


@pytest.fixture
def callers(topology: Topology) -> Callers:
    return Callers(topology)
