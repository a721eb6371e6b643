"""The command as people run it: a process of its own against a real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, ServiceProcess

COMMAND = [sys.executable, "-m", "polyhead"]
# What runs in the background of a shell ignores Ctrl-C, and so do its children, tests included.
LISTENING = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from polyhead.__main__ import main; main()",
]


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """stdout as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def one(self) -> Any:
        """The only line."""
        (line,) = self.lines
        return line


Polyhead = Callable[..., Ran]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("POLYHEAD")}
    path = str(ROOT / "sdk")
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": path, **more}


@pytest.fixture
def polyhead(service: ServiceProcess, tmp_path: Path) -> Polyhead:
    """Run the command in an empty home, with the service in `POLYHEAD_URL`."""

    def run(
        *arguments: object, stdin: str | bytes = b"", cwd: Path | None = None, **more: str
    ) -> Ran:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=environment(tmp_path, **{"POLYHEAD_URL": service.url, **more}),
            cwd=cwd or tmp_path,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def task() -> str:
    """A name that no other test uses."""
    return f"cli-{uuid.uuid4().hex[:8]}"
