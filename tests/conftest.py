"""Real parts for the tests: a Valkey process, service processes, the MiniLM encoder."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.processes import (
    ROOT,
    ServiceProcess,
    ValkeyProcess,
    free_port,
    process_state,
    wait_for,
)

if TYPE_CHECKING:
    from tests.s3 import S3Server

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
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server with an empty bucket; tests take a prefix each."""
    from tests import s3

    if s3.MISSING:
        pytest.skip(s3.MISSING)
    server = s3.S3Server(tmp_path_factory.mktemp("s3")).start()
    server.make_bucket()
    yield server
    server.kill()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry's URL of this test's own, with what is needed to use it in the environment."""
    from tests import s3

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/{uuid.uuid4().hex}"


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
