"""A data directory that takes no more, and the end of the process, while requests go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import causes
from tests.api.test_tasks import rows, train
from tests.conftest import ServiceProcess, ValkeyProcess, wait_for
from tests.redis.load import Load, texts


@pytest.fixture
def service(valkey: ValkeyProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service of this test's own, that permissions apply to."""
    process = ServiceProcess("all", tmp_path, REDIS_URL=valkey.url)
    command = causes.heeding_modes(process.command)
    if command is None:
        pytest.skip("as root, and without setpriv: nothing is read-only")
    process.command = command
    yield process.start()
    process.stop()


def predict_fruit(service: ServiceProcess) -> Any:
    (row,) = service.predict("a ripe apricot", tasks=["fruit"])["data"]
    return row["predictions"]


def test_a_registry_that_is_read_only_serves_and_says_so(
    service: ServiceProcess, tmp_path: Path
) -> None:
    service.http.put("/v1/tasks/fruit", json={})
    for seed in (0, 1):
        train(service, "fruit", examples=rows(60, seed))
    before = predict_fruit(service)
    with causes.read_only_folders(tmp_path / "data" / "tasks"):
        refusals = [
            service.http.put("/v1/tasks/other", json={}),
            service.http.post("/v1/tasks/fruit/versions/2/activate"),
            service.http.delete("/v1/tasks/fruit"),
        ]
        for response in refusals:
            assert response.status_code == 503, response.text
            error = response.json()["error"]
            assert error["code"] == "storage_unavailable"
            assert str(tmp_path) not in error["message"]
            assert int(response.headers["retry-after"]) >= 1
        job = train(service, "fruit", examples=rows(60, 2))
        assert (job["status"], job["error"]["code"]) == ("failed", "storage_unavailable")
        assert predict_fruit(service) == before
        service.stop()
        service.start()  # all is there, nothing need be written
        assert predict_fruit(service) == before
    assert service.http.post("/v1/tasks/fruit/versions/2/activate").status_code == 200
    assert train(service, "fruit", examples=rows(60, 2))["version"] == 3
    assert "Traceback" not in service.log.read_text()


def test_a_disk_that_is_full_while_a_version_is_written(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """By a limit on the size of files: half of the weights are written."""
    service.http.put("/v1/tasks/fruit", json={})
    train(service, "fruit", examples=rows(60))
    before = predict_fruit(service)
    versions = tmp_path / "data" / "tasks" / "fruit" / "versions"
    others = ["sentiment", "emotion"]
    with Load(service, texts(10, "while a disk is full"), tasks=others) as load:
        with causes.no_room_for_files(service):
            job = train(service, "fruit", examples=rows(60, 1), activate=True)
            assert (job["status"], job["error"]["code"]) == ("failed", "storage_unavailable")
            assert sorted(path.name for path in versions.iterdir()) == ["000001"]
            assert predict_fruit(service) == before
        job = train(service, "fruit", examples=rows(60, 1), activate=True)
        assert (job["status"], job["version"]) == ("succeeded", 2)
        assert predict_fruit(service)["fruit"]["version"] == 2
    assert load.failed == []
    assert load.wrong == []


def test_sigterm_under_load_answers_what_was_taken(service: ServiceProcess) -> None:
    """Requests of several batches each, which are in the queue when the signal comes."""
    answers: list[int] = []
    failed: list[str] = []

    def ask(number: int) -> None:
        try:
            some = texts(128, f"asked of a service that is stopped, {number}")
            answers.append(len(service.predict(some)["data"]))
        except Exception as error:
            failed.append(repr(error)[:300])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    queued: Callable[[], float] = lambda: service.metric("polyhead_queued_texts")  # noqa: E731
    for thread in threads:
        thread.start()
    wait_for(lambda: queued() >= 4 * 64 or not any(t.is_alive() for t in threads), 30, "a queue")
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    # uvicorn ends by the signal that it has handled.
    assert service.process.wait(timeout=30) in (0, -signal.SIGTERM)
    for thread in threads:
        thread.join()
    print(f"stopped {time.monotonic() - started:.1f} s after the signal")
    assert failed == []
    assert answers == [128] * 4
    assert "Traceback" not in service.log.read_text()
