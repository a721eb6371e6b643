"""app.tasks.storage on a real S3 server: what becomes of a registry when the server misbehaves.

What holds for folders as well is in test_registry.py and test_stored_versions.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import Conflict, NotFound, StorageUnavailable
from app.tasks.registry import Registry
from app.tasks.storage import revisions, shared
from app.tasks.storage.bucket import Bucket
from app.tasks.storage.index import PROBES, REVISIONS, file_key, revision_key
from app.tasks.storage.opening import open_storage
from app.tasks.storage.port import RegistryUnusable
from app.tasks.storage.revisions import Revisions
from app.tasks.storage.shared import SharedStorage
from models.head_artifact import WEIGHTS
from tests import s3

LABELS = ["a", "b"]


class Processes:
    """Opens registries as processes on machines of their own would."""

    def __init__(self, url: str, folder: Path, make_manifest: Any, make_head: Any) -> None:
        self.url = url
        self.folder = folder
        self._manifest, self._head = make_manifest, make_head

    def open(self, machine: str = "one") -> Registry:
        return Registry(open_storage(self.url, self.folder / machine))

    def add(self, registry: Registry, winner: int = 0) -> int:
        return registry.add_version("mood", self._manifest(), self._head(winner))

    def filled(self) -> Registry:
        """With the task `mood` of two versions, the first one active."""
        registry = self.open()
        registry.create("mood", "single_label", LABELS, None)
        for winner in (0, 1):
            self.add(registry, winner)
        registry.activate("mood", 1)
        return registry


@pytest.fixture
def at(
    s3_url: str,
    tmp_path: Path,
    make_manifest: Any,
    make_head: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Processes:
    monkeypatch.setattr(shared, "RETRY_S", 0.0)
    return Processes(s3_url, tmp_path, make_manifest, make_head)


@pytest.fixture
def own_server(
    at: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[s3.S3Server]:
    """A server of this test's own, to be killed. After `at`, whose environment it replaces."""
    server = s3.S3Server(tmp_path / "server").start()
    server.make_bucket()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.kill()


def winner(registry: Registry) -> int:
    head = registry.snapshot.get("mood").head
    assert head is not None
    return int(head.tensors()["bias"].argmax())


class TestOutage:
    def test_what_was_read_is_served_and_changes_are_refused_until_it_is_back(
        self, own_server: s3.S3Server, at: Processes, caplog: pytest.LogCaptureFixture
    ) -> None:
        at.url = f"s3://{s3.BUCKET}/here"
        registry = at.filled()
        other = at.open("two")
        own_server.kill()
        started = time.monotonic()
        for change in (
            lambda: registry.activate("mood", 2),
            lambda: registry.create("new", "regression", None, None),
            lambda: registry.delete("mood"),
            lambda: registry.delete_version("mood", 2),
            lambda: at.add(registry),
        ):
            with pytest.raises(StorageUnavailable) as caught:
                change()
            assert caught.value.retry_after is not None
            assert at.url not in caught.value.message
        seconds = time.monotonic() - started
        print(f"five refusals in {seconds:.1f} s")
        assert seconds < 30
        assert not registry.refresh()
        assert not registry.is_up
        assert (registry.snapshot.get("mood").active, winner(registry)) == (1, 0)
        assert registry.head("mood", 2).tensors()["bias"].argmax() == 1  # it was made here
        # A process that starts now has the copy of the one before it; one on a new machine has not.
        again = at.open()
        assert (again.snapshot.get("mood").active, winner(again)) == (1, 0)
        with pytest.raises(RegistryUnusable, match="no local copy"):
            at.open("new")
        assert other.snapshot.get("mood").active == 1
        assert [r.message for r in caplog.records if r.levelno == logging.ERROR]
        own_server.start()
        registry.activate("mood", 2)
        assert registry.is_up
        for one in (other, again):
            assert one.refresh()
            assert (one.snapshot.get("mood").active, winner(one), one.is_up) == (2, 1, True)

    def test_a_frozen_server_is_given_up_in_bounded_time(
        self, own_server: s3.S3Server, at: Processes
    ) -> None:
        at.url = f"s3://{s3.BUCKET}/here"
        registry = at.filled()
        own_server.freeze()
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            registry.activate("mood", 2)
        seconds = time.monotonic() - started
        print(f"given up after {seconds:.1f} s")
        own_server.thaw()
        assert seconds < 40
        registry.activate("mood", 2)
        assert registry.snapshot.get("mood").active == 2

    def test_a_weight_that_cannot_be_had_yet_leaves_the_one_before_it(
        self, at: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry, other = at.filled(), at.open("two")
        registry.activate("mood", 2)

        def broken(self: Bucket, keys: Any) -> Any:
            raise StorageUnavailable("x")

        with monkeypatch.context() as patched:
            patched.setattr(Bucket, "read_many", broken)
            assert not other.refresh()
            assert (other.snapshot.get("mood").active, winner(other)) == (1, 0)
        assert other.refresh()
        assert winner(other) == 1


class TestWriting:
    def test_an_answer_that_was_lost_is_no_lost_race(
        self, at: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A library's retry finds the object that its first try has put."""
        registry = at.filled()
        create = Bucket.create

        def twice(self: Bucket, key: str, data: bytes) -> bool:
            create(self, key, data)
            return create(self, key, data) if key.startswith(REVISIONS) else True

        bucket = Bucket(at.url)
        before = len(bucket.names(REVISIONS))
        monkeypatch.setattr(Bucket, "create", twice)
        registry.activate("mood", 2)
        assert len(bucket.names(REVISIONS)) == before + 1
        assert at.open("two").snapshot.get("mood").active == 2

    def test_a_store_that_replaces_what_it_must_not_is_not_written_to(
        self, at: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def replacing(self: Bucket, key: str, data: bytes) -> bool:
            self.put(key, data)
            return True

        monkeypatch.setattr(Bucket, "create", replacing)
        registry = at.open()
        with pytest.raises(StorageUnavailable, match="cannot be shared"):
            registry.create("mood", "single_label", LABELS, None)
        bucket = Bucket(at.url)
        assert (bucket.names(REVISIONS), bucket.names(PROBES)) == ([], [])

    def test_put_if_absent_is_true_of_many_at_once(self, at: Processes) -> None:
        """Of the server itself: what all else rests on."""
        from concurrent.futures import ThreadPoolExecutor

        buckets = [Bucket(at.url) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            for turn in range(10):
                key = f"race/{turn}"
                won = list(pool.map(lambda n: buckets[n].create(key, b"%d" % n), range(3)))  # noqa: B023
                assert sum(won) == 1
                assert buckets[0].read(key) == b"%d" % won.index(True)

    def test_a_version_of_a_deleted_task_leaves_no_files(self, at: Processes) -> None:
        registry, other = at.filled(), at.open("two")
        bucket = Bucket(at.url)
        records = Revisions(bucket).look().index.ids().values()
        keys = [file_key(record, file) for record in records for file in record.digests]
        assert len(keys) == 4
        assert None not in bucket.read_many(keys)
        other.delete("mood")
        assert bucket.read_many(keys) == [None] * 4
        with pytest.raises(NotFound):
            at.add(registry)

    def test_a_shipped_head_is_installed_by_one_of_two(
        self, at: Processes, make_manifest: Any, make_head: Any
    ) -> None:
        one, other = at.filled(), at.open("two")
        install = [
            registry.install(
                "mood", make_manifest(), make_head(), None, "the digest", activate=True
            )
            for registry in (one, other)
        ]
        assert install == [3, None]
        assert other.marks() == {"mood": "the digest"}
        assert list(other.snapshot.get("mood").versions) == [1, 2, 3]

    def test_old_revisions_go_and_a_process_that_slept_finds_the_new_ones(
        self, at: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry, sleeper = at.filled(), at.open("two")
        monkeypatch.setattr(revisions, "KEEP", 5)
        monkeypatch.setattr(revisions, "KEEP_S", 0.0)
        monkeypatch.setattr(revisions, "PRUNE_EVERY", 5)
        for turn in range(14):
            registry.activate("mood", 2 - turn % 2)
        bucket = Bucket(at.url)
        assert 5 <= len(bucket.names(REVISIONS)) <= 10
        assert bucket.read(revision_key(1)) is None
        monkeypatch.setattr(revisions, "LIST_AFTER_S", 0.0)  # it slept for long
        sleeper.refresh()
        assert sleeper.snapshot.get("mood").active == registry.snapshot.get("mood").active


class TestDamage:
    def test_a_bucket_that_was_emptied_takes_nothing_away(
        self, at: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        registry = at.filled()
        bucket = Bucket(at.url)
        bucket.remove([f"{REVISIONS}/{name}" for name in bucket.names(REVISIONS)])
        monkeypatch.setattr(revisions, "LIST_AFTER_S", 0.0)
        assert not registry.refresh()
        assert (registry.is_up, winner(registry)) == (False, 0)
        with pytest.raises(StorageUnavailable):
            registry.activate("mood", 2)

    def test_a_revision_of_another_format_is_not_read_and_not_written_over(
        self, at: Processes
    ) -> None:
        registry = at.filled()
        bucket = Bucket(at.url)
        newest = Revisions(bucket).look().number
        bucket.put(revision_key(newest + 1), b'{"format": "polyhead.registry/2"}')
        assert not registry.refresh()
        with pytest.raises(StorageUnavailable):
            registry.activate("mood", 2)
        assert winner(registry) == 0
        assert len(bucket.names(REVISIONS)) == newest + 1

    @pytest.mark.parametrize("data", [b"", b"\0" * 500, None], ids=["empty", "zeros", "gone"])
    def test_damaged_weights_are_not_served(self, at: Processes, data: bytes | None) -> None:
        registry = at.filled()
        bucket = Bucket(at.url)
        record = Revisions(bucket).look().index.version("mood", 2)
        key = file_key(record, WEIGHTS)
        if data is None:
            bucket.remove([key])
        else:
            bucket.put(key, data)
        other = at.open("two")
        with pytest.raises(Conflict, match="cannot be used"):
            other.activate("mood", 2)
        assert winner(other) == 0
        registry.activate("mood", 2)  # whose own copy is good
        other.refresh()
        assert other.snapshot.get("mood").head is None


def test_wrong_credentials_are_a_refusal_that_names_none(
    at: Processes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at.filled()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    caplog.set_level(logging.DEBUG, logger="app")
    again = at.open()  # from the copy
    assert winner(again) == 0
    with pytest.raises(StorageUnavailable) as caught:
        again.activate("mood", 2)
    said = caplog.text + caught.value.message
    for secret in ("another-secret", *s3.ACCESS.values()):
        assert secret not in said


def test_an_unchanged_registry_costs_one_call(
    at: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = at.filled()
    calls: list[str] = []
    calling = Bucket._path

    def counted(self: Bucket, key: str) -> str:
        calls.append(key)
        return calling(self, key)

    monkeypatch.setattr(Bucket, "_path", counted)
    for _ in range(3):
        assert not registry.refresh()
    assert calls == [revision_key(5)] * 3


def test_a_protocol_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("app.tasks.storage.bucket.importlib.util.find_spec", finder)
    for scheme in ("s3", "gs", "az"):
        with pytest.raises(RegistryUnusable, match=rf"polyhead-service\[{scheme}\]"):
            SharedStorage(f"{scheme}://bucket/prefix", tmp_path)
