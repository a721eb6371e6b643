"""`polyhead-bulk` on a real Ray cluster of three nodes, one of which is killed; and its driver.

Left out where Ray is not installed: `make test-bulk` installs it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from benchmarks.ray_cluster import ENVIRONMENT, RayCluster, ray_cluster
from tests.bulk.conftest import BAD, ROWS, Bulk
from tests.conftest import ValkeyProcess

os.environ.update(ENVIRONMENT)  # before Ray is imported
ray = pytest.importorskip("ray", reason="Ray is not installed (make test-bulk)")

from app.settings import Settings  # noqa: E402
from bulk.engines import OnRay  # noqa: E402
from bulk.plan import Refused  # noqa: E402
from bulk.run import Options, begin  # noqa: E402

NODES = 3


pytestmark = pytest.mark.timeout(1800)  # Ray's processes are many, and the cores may be few


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Shared, since it takes long to come up: the test that kills a node comes after the others."""
    with ray_cluster(NODES) as started:
        yield started


def test_a_driver_killed_in_the_middle_goes_on(
    bulk: Bulk,
    single: dict[str, bytes],
    cluster: RayCluster,
    started: Callable[[subprocess.Popen[str]], subprocess.Popen[str]],
) -> None:
    process = started(bulk.start("driver", "--address", cluster.address))
    bulk.wait_for_blocks(process, "driver", len(single) // 3)
    bulk.kill(process)
    done = len(bulk.blocks("driver"))
    assert done < len(single)
    report = bulk.run("driver", "--address", cluster.address)
    # Actors that had not heard of the death yet may have ended a block after it.
    assert done * ROWS / len(single) <= report["resumed_rows"] < ROWS
    assert (report["rows"], report["bad_rows"]) == (ROWS, len(BAD))
    assert len(report["blocks_by_node"]) == NODES
    assert bulk.blocks("driver") == single
    assert bulk.run("driver", command="verify")["problems"] == []


def test_actors_with_another_encoder_stop_the_run(bulk: Bulk, cluster: RayCluster) -> None:
    settings = Settings(data_dir=bulk.folder / "data", redis_url=None)
    engine = OnRay(settings, cluster.address, actors=0, cpus=1, gpus=0)
    try:
        info = replace(engine.info(), fingerprint="0" * 32)
        options = Options(str(bulk.source), str(bulk.folder / "mixed"), tasks=(), codes=True)
        begun = begin(options, settings, info)
        with pytest.raises(Refused, match=r"has encoder .*, the run's is 0{32}"):
            list(engine.do(begun.job, begun.blocks))
    finally:
        ray.shutdown()


def test_a_node_killed_in_the_middle(
    bulk: Bulk,
    single: dict[str, bytes],
    cluster: RayCluster,
    valkey: ValkeyProcess,
    started: Callable[[subprocess.Popen[str]], subprocess.Popen[str]],
) -> None:
    process = started(bulk.start("node", "--address", cluster.address, REDIS_URL=valkey.url))
    bulk.wait_for_blocks(process, "node", len(single) // 2)
    cluster.kill_node()
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert bulk.blocks("node") == single
    assert bulk.run("node", command="verify")["problems"] == []


def test_a_cluster_without_room_is_refused_not_waited_for(bulk: Bulk) -> None:
    process = bulk.start("nowhere", "--cpus", "64")  # of this machine alone
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 4
    assert "no machine of the cluster has 64 CPUs" in errors
