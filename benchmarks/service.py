"""Starting the service as a process of its own, for a measurement."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def start_service(
    port: int, data: Path, core: int | None = None, **extra: str
) -> subprocess.Popen[bytes]:
    """The all-in-one service, pinned to a core if one is given."""
    environment = {
        **os.environ,
        "POLYHEAD_PORT": str(port),
        "POLYHEAD_DATA_DIR": str(data),
        "POLYHEAD_LOG_LEVEL": "warning",
        **extra,
    }
    return pinned(core, [sys.executable, "-m", "app"], environment)


def pinned(
    core: int | None, command: list[str], environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=environment)
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    return process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(port: int) -> None:
    wait_until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read())


def wait_until(attempt: Any, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            attempt()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
