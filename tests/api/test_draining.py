"""SIGTERM with POLYHEAD_DRAIN_S: unready at once, gone a while later, nothing refused between."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ServiceProcess, wait_for


def test_a_draining_process_is_unready_and_still_answers(
    processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    service = processes("all", tmp_path, POLYHEAD_DRAIN_S="2")
    process = service.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    wait_for(lambda: service.http.get("/ready").status_code == 503, 1, "not being ready")
    assert service.http.get("/ready").json() == {"ready": False, "draining": True}
    assert service.http.get("/health").status_code == 200
    service.predict("still answered")
    process.wait(20)
    assert time.monotonic() - asked >= 2


def test_a_second_sigterm_does_not_wait(
    processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    service = processes("all", tmp_path, POLYHEAD_DRAIN_S="60")
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    wait_for(lambda: service.http.get("/ready").status_code == 503, 5, "not being ready")
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(20)
