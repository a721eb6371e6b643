"""app.tasks.jobs: job files, read by whoever shares the folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from app.errors import NotFound
from app.schemas import ErrorBody, Job
from app.tasks import jobs as module
from app.tasks.jobs import STALE_AFTER_S, JobStore


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs", grace_s=0)


def age(store: JobStore, job: Job, seconds: float) -> Path:
    path = store._root / f"{job.id}.json"
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_new_job_is_queued_and_found(store: JobStore) -> None:
    job = store.create("mood")
    assert (job.status, job.task, job.progress) == ("queued", "mood", 0.0)
    assert store.get(job.id) == job
    assert JobStore(store._root).get(job.id) == job


def test_a_job_has_a_kind_and_one_stored_without_it_is_a_training(store: JobStore) -> None:
    assert store.get(store.create("mood", "evaluation").id).kind == "evaluation"
    job = store.create("mood")
    path = age(store, job, 0)
    assert json.loads(path.read_bytes())["kind"] == "training"
    path.write_text(job.model_dump_json(exclude={"kind"}))
    assert store.get(job.id) == job


def test_saved_changes_are_read(store: JobStore) -> None:
    job = store.create("mood")
    job.status, job.report, job.version = "succeeded", {"accuracy": 0.5, "r2": None}, 3
    store.save(job)
    assert store.get(job.id) == job
    assert [path.suffix for path in store._root.iterdir()] == [".json"]


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_job_that_nobody_stamps_reads_as_failed(store: JobStore, status: str) -> None:
    job = store.create("mood")
    job.status = status  # type: ignore[assignment]
    store.save(job)
    age(store, job, STALE_AFTER_S - 5)
    assert store.get(job.id).status == status
    age(store, job, STALE_AFTER_S + 1)
    failed = store.get(job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "job_interrupted"
    store.stamp(job.id)
    assert store.get(job.id).status == status


class Times:
    """`time` with a wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.wall, self.passed = time.time(), 0.0

    def time(self) -> float:
        return self.wall + self.passed

    def monotonic(self) -> float:
        return self.passed


def test_a_clock_that_is_set_ends_no_job_and_keeps_none_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Times()
    monkeypatch.setattr(module, "time", times)
    store = JobStore(tmp_path / "jobs", grace_s=5)
    job = store.create("mood")
    times.wall += 3600
    for _ in range(10):  # its process goes on, by stamps of whatever clock
        assert store.get(job.id).status == "queued"
        times.passed += 2
        age(store, job, 1000 - times.passed)
    times.passed += 6  # and is gone
    assert store.get(job.id).status == "queued"
    times.passed += 6
    assert store.get(job.id).status == "failed"
    times.wall -= 2 * 3600
    assert store.get(job.id).status == "queued"
    times.passed += STALE_AFTER_S + 1
    assert store.get(job.id).status == "failed"


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_finished_job_does_not_grow_stale(store: JobStore, status: str) -> None:
    job = store.create("mood")
    job.status = status  # type: ignore[assignment]
    job.error = ErrorBody(message="m", type="t", param=None, code="mine")
    store.save(job)
    age(store, job, 10 * STALE_AFTER_S)
    assert store.get(job.id) == job


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        "../x",
        "job-../../x",
        "/etc/passwd",
        "job-" + "0" * 31,
        "job-" + "0" * 32,
        "job-" + "G" * 32,
        "job-" + "0" * 32 + "\n",
        "job-" + "0" * 32 + "/../x",
        "job-\x00",
        "x" * 10_000,
    ],
    ids=lambda job_id: repr(job_id[:45]),
)
def test_other_ids_are_not_found(store: JobStore, job_id: str) -> None:
    (store._root.parent / "x.json").write_text(store.create("mood").model_dump_json())
    with pytest.raises(NotFound) as caught:
        store.get(job_id)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"id": 1}'])
def test_damaged_files_are_not_found_and_left_out_of_the_list(store: JobStore, data: bytes) -> None:
    job, other = store.create("mood"), store.create("mood")
    age(store, job, 0).write_bytes(data)
    with pytest.raises(NotFound):
        store.get(job.id)
    assert [one.id for one in store.list()] == [other.id]


def test_the_list_is_newest_first(store: JobStore) -> None:
    made = []
    for number in (2, 0, 1):
        job = store.create(f"t{number}")
        job.created_at = float(number)
        job.status = "failed"
        store.save(job)
        made.append(job)
    assert [job.task for job in store.list()] == ["t2", "t1", "t0"]


def test_old_finished_jobs_are_pruned_but_live_ones_stay(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP", 3)
    live, done, damaged, abandoned = (store.create("mood") for _ in range(4))
    done.status = "succeeded"
    store.save(done)
    age(store, damaged, 300).write_bytes(b"")
    age(store, abandoned, 200)
    age(store, done, 100)
    age(store, live, 5)
    newest = [store.create("mood").id for _ in range(2)]
    left = {job.id for job in store.list()}
    assert left == {live.id, *newest}
