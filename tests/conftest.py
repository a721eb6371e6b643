"""Real parts for the tests: a Valkey process, service processes, the MiniLM encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import (
    ROOT,
    ServiceProcess,
    ValkeyProcess,
    free_port,
    process_state,
    wait_for,
)

__all__ = ["ROOT", "ServiceProcess", "ValkeyProcess", "free_port", "process_state", "wait_for"]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    folder = tmp_path / "valkey"
    folder.mkdir()
    server = ValkeyProcess(folder)
    server.start()
    yield server
    with suppress(ProcessLookupError):
        server.kill()


@pytest.fixture
def processes() -> Iterator[Callable[..., ServiceProcess]]:
    """Start services that are stopped at the end of the test."""
    started: list[ServiceProcess] = []

    def start(role: str, folder: Path, **environment: str) -> ServiceProcess:
        service = ServiceProcess(role, folder, **environment)
        started.append(service)
        return service.start()

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The all-in-one service with the real MiniLM and its embedded Valkey, shared by tests."""
    process = ServiceProcess("all", tmp_path_factory.mktemp("service")).start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def encoder() -> Any:
    """The shipped encoder in this process, in the profile that a CPU serves."""
    from app.settings import DEFAULT_ENCODER
    from models.loading import load_encoder

    return load_encoder(DEFAULT_ENCODER, device="cpu", threads=2)
