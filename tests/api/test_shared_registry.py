"""Two api processes, with data directories of their own, on one registry in an S3 server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import s3
from tests.api.test_tasks import rows, train
from tests.conftest import ServiceProcess, ValkeyProcess, wait_for

pytestmark = pytest.mark.skipif(s3.MISSING is not None, reason=str(s3.MISSING))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[s3.S3Server]:
    server = s3.S3Server(tmp_path / "s3").start()
    server.make_bucket()
    yield server
    server.kill()


@pytest.fixture
def start(
    server: s3.S3Server,
    valkey: ValkeyProcess,
    processes: Callable[..., ServiceProcess],
    tmp_path: Path,
) -> Callable[[str], ServiceProcess]:
    """Starts an api process on a machine of that name; all have one encoder."""
    encoder = processes("encoder", tmp_path / "encoder", REDIS_URL=valkey.url)

    def start(name: str) -> ServiceProcess:
        return processes(
            "api",
            tmp_path / name,
            POLYHEAD_ENCODER_URL=encoder.url,
            REDIS_URL=valkey.url,
            POLYHEAD_REGISTRY_URL=f"s3://{s3.BUCKET}/registry",
            **server.environment,
        )

    return start


def active(api: ServiceProcess) -> int | None:
    version: int | None = api.http.get("/v1/tasks/fruit").json()["active_version"]
    return version


def answering(api: ServiceProcess) -> Any:
    (row,) = api.predict("a ripe apricot", tasks=["fruit"])["data"]
    return row["predictions"]["fruit"]["version"]


def test_two_processes_share_versions_race_and_outlive_the_store(
    server: s3.S3Server, start: Callable[[str], ServiceProcess]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        apis = list(pool.map(start, ["one", "two"]))
        one, two = apis

        # Both have installed the shipped heads: once.
        for api in apis:
            tasks = api.http.get("/v1/tasks").json()["data"]
            assert len(tasks) == 8
            assert {len(task["versions"]) for task in tasks} == {1}
            assert {task["active_version"] for task in tasks} == {1}

        # Trained at once: each gets a number of its own, and both processes have both.
        assert one.http.put("/v1/tasks/fruit", json={}).status_code == 201
        wait_for(lambda: two.http.get("/v1/tasks/fruit").status_code == 200, 10, "the task")
        for _ in range(2):
            jobs = list(pool.map(lambda api: train(api, "fruit", examples=rows(60)), apis))
            assert {job["status"] for job in jobs} == {"succeeded"}
        numbers = [
            {version["version"] for version in api.http.get("/v1/tasks/fruit").json()["versions"]}
            for api in apis
            if api.http.get("/v1/tasks/fruit/versions/4").status_code == 200
        ]
        assert numbers == [{1, 2, 3, 4}] * 2

        # Activated at once: both are told yes, one of them has the last word, for both.
        for turn in range(10):
            versions = [1 + turn % 4, 1 + (turn + 1) % 4]

            def activate(pair: tuple[ServiceProcess, int]) -> int:
                api, version = pair
                path = f"/v1/tasks/fruit/versions/{version}/activate"
                return api.http.post(path).status_code

            assert list(pool.map(activate, zip(apis, versions, strict=True))) == [200, 200]
            wait_for(lambda: active(one) == active(two), 10, "agreement")
            assert active(one) in versions
            assert answering(one) == answering(two) == active(one)

    # The store is killed: what is active answers, changes are refused, a restart goes on.
    last = active(one)
    server.kill()
    for api in apis:
        assert answering(api) == last
        for response in (
            api.http.post("/v1/tasks/fruit/versions/1/activate"),
            api.http.put("/v1/tasks/other", json={}),
            api.http.delete("/v1/tasks/fruit"),
        ):
            assert response.status_code == 503, response.text
            error = response.json()["error"]
            assert error["code"] == "storage_unavailable"
            assert (error["type"], error["param"]) == ("unavailable_error", None)
            assert int(response.headers["retry-after"]) >= 1
        assert api.http.get("/ready").json()["registry"] == "down"
        assert api.http.get("/v1/tasks/fruit/versions/1").status_code == 200
    job = train(one, "fruit", examples=rows(60, 2))
    assert (job["status"], job["error"]["code"]) == ("failed", "storage_unavailable")
    two.kill()
    two.start()
    assert answering(two) == last

    server.start()
    other = f"/v1/tasks/fruit/versions/{5 - (last or 1)}/activate"
    # A store that was killed lists its buckets before it takes a write: until then 503, as before.
    wait_for(lambda: one.http.post(other).status_code == 200, 30, "the store to take a change")
    wait_for(lambda: active(two) == 5 - (last or 1), 15, "the other process's look")
    assert answering(two) == 5 - (last or 1)
    assert two.http.get("/ready").json()["registry"] == "up"
    for api in apis:
        log = api.log.read_text()
        assert "Traceback" not in log
        for secret in s3.ACCESS.values():
            assert secret not in log
