"""One name for several real encoder processes, as compose and Kubernetes give it: it changes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ServiceProcess, ValkeyProcess, wait_for

# The api sees a hosts file of its own: the system's look-up, without changing the system's names.
HOSTED = 'mount --bind "$HOSTS" /etc/hosts && exec "$@"'
NAME = "encoder.test"


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def encoders(
    valkey: ValkeyProcess, processes: Callable[..., ServiceProcess], tmp_path: Path
) -> Iterator[list[ServiceProcess]]:
    """Two, on one port of two addresses."""
    common = {"REDIS_URL": valkey.url, "POLYHEAD_THREADS": "1"}
    first = processes("encoder", tmp_path / "encoder1", **common)
    more = {"POLYHEAD_HOST": "127.0.0.2", "POLYHEAD_PORT": str(first.port)}
    second = ServiceProcess("encoder", tmp_path / "encoder2", **common, **more)
    second.url = f"http://127.0.0.2:{first.port}"
    second.http = httpx.Client(base_url=second.url, timeout=60)
    yield [first, second.start()]
    second.stop()


@pytest.mark.skipif(not can_mount(), reason="no mounts of its own for a process")
def test_encoders_behind_a_name_come_and_go(
    encoders: list[ServiceProcess], valkey: ValkeyProcess, tmp_path: Path
) -> None:
    port = encoders[0].port
    hosts = tmp_path / "hosts"

    def name(*numbers: str) -> None:
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{one} {NAME}\n" for one in numbers))

    name("127.0.0.1")
    api = ServiceProcess(
        "api",
        tmp_path / "api",
        REDIS_URL=valkey.url,
        POLYHEAD_ENCODER_URL=f"http://{NAME}:{port}",
        HOSTS=str(hosts),
    )
    api.command = ["unshare", "-m", "sh", "-c", HOSTED, "sh", *api.command]

    def states() -> dict[str, str]:
        rows = api.http.get("/info").json()["encoders"]
        return {row["label"]: row["state"] for row in rows}

    def passes() -> list[float]:
        return [one.metric("polyhead_encoder_passes_total") for one in encoders]

    try:
        api.start()
        assert states() == {f"127.0.0.1:{port}": "up"}
        name("127.0.0.1", "127.0.0.2")  # scaled up
        wait_for(lambda: set(states().values()) == {"up"} and len(states()) == 2, 15, "both")
        before = passes()
        for n in range(20):
            assert api.predict(f"asked of both, {n}")["usage"]["encoded"] == 1
        # In turn (tests/unit), unless one has no room for a moment, as on a busy machine.
        asked = [now - then for now, then in zip(passes(), before, strict=True)]
        assert sum(asked) == 20, asked
        assert min(asked) > 0, asked
        name("127.0.0.2")  # the first is gone
        wait_for(lambda: set(states()) == {f"127.0.0.2:{port}"}, 15, "its being left")
        encoders[0].kill()
        for n in range(5):
            assert api.predict(f"asked of the second, {n}")["usage"]["encoded"] == 1
        hosts.write_text("127.0.0.1 localhost\n")  # no answer: it is where it was
        wait_for(lambda: "cannot look up encoders" in api.log.read_text(), 15, "a failed look-up")
        assert api.predict("asked without a name")["usage"]["encoded"] == 1
        assert "is out" not in api.log.read_text()
        assert "Traceback" not in api.log.read_text()
    finally:
        api.stop()
        api.http.close()
