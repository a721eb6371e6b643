"""The whole service on a real cluster: a master, an encoder and an api killed at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cluster import FAULTS, ClusterTopology
from benchmarks.faults import run_one


@pytest.mark.parametrize("layout", ["string", "packed"])
def test_no_request_fails_and_no_answer_is_wrong(layout: Any, tmp_path: Path) -> None:
    topology = ClusterTopology(tmp_path / "topology", layout, node_timeout_ms=1500)
    try:
        topology.start()
        topology.learn()
        with topology.load() as load:
            time.sleep(1)
            row = run_one(FAULTS[-1], topology, load)
    finally:
        topology.stop()
    assert row.broken == []
    assert row.outcome is not None
    print(row)
    assert row.outcome.requests > 100
    assert row.outcome.failed == {}
    assert row.outcome.wrong == 0
    assert row.outcome.cached_after_s is not None  # all is as before
    # It was all of it: callers met the dead api, the others the dead encoder.
    assert row.outcome.asked_again > 0
    log = topology.apis[1].log.read_text()
    assert "is out: unreachable" in log
    for process in (*topology.apis, *topology.encoders):
        assert "Traceback" not in process.log.read_text()
