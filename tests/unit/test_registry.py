"""app.tasks.registry, with several registries sharing a place: a folder, and a real S3 server.

What is said of a place holds for both; what happens to damaged files is told apart.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Conflict, InvalidField, NotFound
from app.schemas import VersionSettings
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from app.tasks.task_files import POINTER, SETTINGS, TASK_FILE, VERSIONS
from models.artifact import MANIFEST
from models.example_rows import EXAMPLES, TRAIN, ExampleRows
from models.head_artifact import WEIGHTS, HeadManifest
from models.head_runtime import LinearHead

Opened = Callable[[], Registry]
MakeManifest = Callable[..., HeadManifest]
MakeHead = Callable[..., LinearHead]


def short(data: bytes | None) -> str:
    """A test's name from its data."""
    return repr(data and data[:30])


@pytest.fixture
def registry(opened: Opened) -> Registry:
    return opened()


@pytest.fixture
def add(make_manifest: MakeManifest, make_head: MakeHead) -> Callable[..., int]:
    """`add(registry, task, winner, labels=...)`: a version that always answers one label."""

    def add(registry: Registry, name: str, winner: int = 0, **fields: Any) -> int:
        manifest = make_manifest(**fields)
        head = make_head(winner, outputs=len(manifest.labels))
        return registry.add_version(name, manifest, head)

    return add


def winner(registry: Registry, name: str) -> int:
    head = registry.snapshot.get(name).head
    assert head is not None
    return int(head.tensors()["bias"].argmax())


class TestOneRegistry:
    def test_a_new_task_is_there_and_empty(self, registry: Registry) -> None:
        assert registry.create("mood", "single_label", ["b", "a"], "How is it?")
        state = registry.snapshot.get("mood")
        assert (state.kind, state.labels, state.description) == (
            "single_label",
            ("b", "a"),
            "How is it?",
        )
        assert (dict(state.versions), state.active, state.head) == ({}, None, None)
        assert not state.ready_made

    def test_versions_are_numbered_and_one_is_active(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", ["a", "b"], None)
        assert [add(registry, "mood", winner) for winner in (0, 1)] == [1, 2]
        assert registry.snapshot.get("mood").active is None
        for version in (1, 2, 1):
            registry.activate("mood", version)
            assert registry.snapshot.get("mood").active == version
            assert winner(registry, "mood") == version - 1

    def test_all_of_it_survives_a_restart(
        self, registry: Registry, opened: Opened, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", ["a", "b"], "é")
        add(registry, "mood", 1, report={"accuracy": 0.5})
        registry.activate("mood", 1)
        before, after = (
            registry.snapshot.get("mood"),
            opened().snapshot.get("mood"),
        )
        assert after.active_manifest == before.active_manifest
        assert after.created_at == before.created_at
        assert after.description == "é"
        assert before.head is not None
        assert after.head is not None
        for name, value in after.head.tensors().items():
            assert np.array_equal(value, before.head.tensors()[name])

    def test_the_same_task_may_be_put_twice(self, registry: Registry) -> None:
        assert registry.create("mood", "single_label", ["a", "b"], "one")
        created_at = registry.snapshot.get("mood").created_at
        assert not registry.create("mood", "single_label", ["a", "b"], "one")
        assert not registry.create("mood", "single_label", None, None)
        assert registry.snapshot.get("mood").description == "one"
        assert not registry.create("mood", "single_label", None, "two")
        state = registry.snapshot.get("mood")
        assert (state.description, state.labels, state.created_at) == (
            "two",
            ("a", "b"),
            created_at,
        )

    @pytest.mark.parametrize(
        ("kind", "labels"),
        [("multi_label", ["a", "b"]), ("single_label", ["b", "a"]), ("single_label", ["a"])],
    )
    def test_another_task_of_the_name_is_a_conflict(
        self, registry: Registry, kind: Any, labels: list[str]
    ) -> None:
        registry.create("mood", "single_label", ["a", "b"], None)
        with pytest.raises(Conflict, match="mood"):
            registry.create("mood", kind, labels, None)

    def test_labels_put_on_a_task_without_any_are_kept(self, registry: Registry) -> None:
        registry.create("mood", "single_label", None, None)
        registry.create("mood", "single_label", ["a", "b"], None)
        assert registry.snapshot.get("mood").labels == ("a", "b")

    def test_labels_are_learned_from_the_first_version(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", None, "words")
        add(registry, "mood", labels=("x", "y"))
        add(registry, "mood", labels=("p", "q", "r"))
        state = registry.snapshot.get("mood")
        assert state.labels == ("x", "y")
        assert state.description == "words"
        assert state.versions[2].labels == ("p", "q", "r")

    def test_a_deleted_task_is_gone(self, registry: Registry, add: Callable[..., int]) -> None:
        registry.create("mood", "single_label", None, None)
        add(registry, "mood")
        registry.delete("mood")
        for call in (
            lambda: registry.snapshot.get("mood"),
            lambda: registry.delete("mood"),
            lambda: registry.activate("mood", 1),
            lambda: add(registry, "mood"),
        ):
            with pytest.raises(NotFound):
                call()

    def test_repeated_labels_are_refused(self, registry: Registry) -> None:
        with pytest.raises(InvalidField, match="labels"):
            registry.create("mood", "single_label", ["a", "a"], None)

    def test_unknown_versions_cannot_be_activated(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", None, None)
        add(registry, "mood")
        for version in (0, 2, -1):
            with pytest.raises(NotFound, match=f"no version {version}"):
                registry.activate("mood", version)
        assert registry.version("mood", 1).labels == ("a", "b")

    def test_refresh_says_whether_anything_changed(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        assert not registry.refresh()
        registry.create("mood", "single_label", None, None)
        snapshot = registry.snapshot
        assert not registry.refresh()
        assert registry.snapshot is snapshot
        add(registry, "mood")
        assert registry.snapshot is not snapshot

    def test_untouched_tasks_are_not_read_again(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        for name in ("one", "two"):
            registry.create(name, "single_label", None, None)
            add(registry, name)
            registry.activate(name, 1)
        one = registry.snapshot.get("one")
        registry.activate("two", 1)
        assert registry.snapshot.get("one") is one


class TestSharedFolder:
    def test_another_registry_sees_changes_by_refresh(
        self, registry: Registry, opened: Opened, add: Callable[..., int]
    ) -> None:
        other = opened()
        registry.create("mood", "single_label", None, None)
        assert other.refresh()
        assert other.snapshot.get("mood").labels == ()
        add(registry, "mood", 0)
        add(registry, "mood", 1)
        registry.activate("mood", 1)
        assert other.refresh()
        assert (other.snapshot.get("mood").active, winner(other, "mood")) == (1, 0)
        registry.activate("mood", 2)
        assert other.refresh()
        assert (other.snapshot.get("mood").active, winner(other, "mood")) == (2, 1)
        registry.delete("mood")
        assert other.refresh()
        assert not other.snapshot.tasks
        assert not other.refresh()

    def test_calls_look_at_the_disk_first(
        self, registry: Registry, opened: Opened, add: Callable[..., int]
    ) -> None:
        other = opened()
        registry.create("mood", "single_label", ["a", "b"], None)
        with pytest.raises(Conflict):
            other.create("mood", "regression", None, None)
        assert add(registry, "mood") == 1
        assert add(other, "mood") == 2
        registry.activate("mood", 2)
        assert other.version("mood", 1).labels == ("a", "b")

    def test_a_task_deleted_and_made_anew_is_not_taken_for_the_old_one(
        self, registry: Registry, opened: Opened, add: Callable[..., int]
    ) -> None:
        other = opened()
        for number, labels in enumerate((("a", "b"), ("c", "d"))):
            if number:
                registry.delete("mood")
            registry.create("mood", "single_label", None, None)
            add(registry, "mood", number, labels=labels)
            registry.activate("mood", 1)
            if not number:
                other.refresh()
        other.refresh()
        assert other.snapshot.get("mood").versions[1].labels == ("c", "d")
        assert winner(other, "mood") == 1

    def test_a_task_made_after_anothers_delete_is_new(
        self, registry: Registry, opened: Opened
    ) -> None:
        registry.create("mood", "single_label", None, None)
        old = registry.snapshot.get("mood")
        other = opened()
        registry.delete("mood")
        other.create("mood", "single_label", None, None)
        assert other.snapshot.get("mood").created_at > old.created_at

    def test_registries_that_add_at_once_lose_nothing(
        self, opened: Opened, make_manifest: MakeManifest, make_head: MakeHead
    ) -> None:
        registries = [opened() for _ in range(3)]
        registries[0].create("mood", "single_label", ["a", "b"], None)
        numbers: list[tuple[int, float]] = []
        start = threading.Barrier(len(registries))

        def work(registry: Registry, which: int) -> None:
            start.wait()
            for turn in range(8):
                made = float(which * 100 + turn)
                number = registry.add_version(
                    "mood", make_manifest(created_at=made), make_head(which % 2)
                )
                numbers.append((number, made))

        threads = [
            threading.Thread(target=work, args=(registry, which))
            for which, registry in enumerate(registries)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(number for number, _ in numbers) == list(range(1, 25))
        for registry in registries:
            registry.refresh()
            versions = registry.snapshot.get("mood").versions
            assert {n: manifest.created_at for n, manifest in versions.items()} == dict(numbers)


@pytest.mark.parametrize("opened", ["folder"], indirect=True)
class TestDamage:
    @pytest.fixture
    def served(self, registry: Registry, root: Path, add: Callable[..., int]) -> Path:
        """Two tasks of two versions each; the second version is active."""
        for name in ("good", "hurt"):
            registry.create(name, "single_label", ["a", "b"], None)
            add(registry, name, 0)
            add(registry, name, 1)
            registry.activate(name, 2)
        return root

    def check_good(self, registry: Registry) -> None:
        assert registry.snapshot.get("good").active == 2
        assert winner(registry, "good") == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"x"',
            b"\xff\xff",
            b"[" * 100_000,
            b"{}",
            b'{"kind": "guess", "labels": [], "created_at": 1}',
            b'{"kind": ["x"], "labels": [], "created_at": 1}',
            b'{"kind": "single_label", "labels": 5, "created_at": 1}',
            b'{"kind": "single_label", "labels": [], "created_at": "x"}',
            b'{"kind": "single_label", "labels": [], "created_at": 1' + b"0" * 400 + b"}",
        ],
        ids=short,
    )
    def test_a_damaged_task_is_left_out(self, served: Path, data: bytes) -> None:
        (served / "hurt" / TASK_FILE).write_bytes(data)
        registry = Registry(FolderStorage(served))
        self.check_good(registry)
        assert list(registry.snapshot.tasks) == ["good"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"[]",
            b"7",
            b"\xff\xff",
            b"[" * 100_000,
            b'{"version": null}',
            b'{"version": "x"}',
            b'{"version": Infinity}',
            b'{"version": NaN}',
            b'{"version": [2]}',
            b'{"version": 3}',
            b'{"version": -1}',
        ],
        ids=short,
    )
    def test_a_damaged_pointer_or_one_to_nowhere_leaves_nothing_active(
        self, served: Path, data: bytes
    ) -> None:
        (served / "hurt" / POINTER).write_bytes(data)
        registry = Registry(FolderStorage(served))
        self.check_good(registry)
        state = registry.snapshot.get("hurt")
        assert (state.active, state.head, state.active_manifest) == (None, None, None)
        assert list(state.versions) == [1, 2]
        registry.activate("hurt", 1)
        assert registry.snapshot.get("hurt").active == 1

    @pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, None], ids=short)
    def test_a_version_with_a_damaged_manifest_is_left_out(
        self, served: Path, data: bytes | None
    ) -> None:
        path = served / "hurt" / VERSIONS / "000002" / MANIFEST
        path.unlink() if data is None else path.write_bytes(data)
        registry = Registry(FolderStorage(served))
        self.check_good(registry)
        state = registry.snapshot.get("hurt")
        assert (list(state.versions), state.active, state.head) == ([1], None, None)
        with pytest.raises(NotFound):
            registry.activate("hurt", 2)
        registry.activate("hurt", 1)

    @pytest.mark.parametrize("data", [b"", b"\0" * 500, None], ids=short)
    def test_damaged_weights_are_not_served(self, served: Path, data: bytes | None) -> None:
        path = served / "hurt" / VERSIONS / "000002" / WEIGHTS
        path.unlink() if data is None else path.write_bytes(data)
        registry = Registry(FolderStorage(served))
        self.check_good(registry)
        assert registry.snapshot.get("hurt").head is None
        with pytest.raises(Conflict, match="cannot be used"):
            registry.activate("hurt", 2)
        registry.activate("hurt", 1)
        assert winner(registry, "hurt") == 0

    def test_leftovers_of_a_crash_are_ignored(self, served: Path, add: Callable[..., int]) -> None:
        versions = served / "hurt" / VERSIONS
        shutil.copytree(versions / "000001", versions / ".new-abc")
        (versions / "notes").mkdir()
        (versions / "²").mkdir()
        (served / ".deleted-abc").mkdir()
        (served / "unfinished" / VERSIONS).mkdir(parents=True)
        (served / "file").write_text("x")
        (served / "hurt" / ".active.json-abc").write_text('{"version": 1}')
        registry = Registry(FolderStorage(served))
        assert list(registry.snapshot.tasks) == ["good", "hurt"]
        assert list(registry.snapshot.get("hurt").versions) == [1, 2]
        assert add(registry, "hurt") == 3
        registry.create("unfinished", "regression", None, None)
        assert registry.snapshot.get("unfinished").kind == "regression"

    def test_a_damaged_task_can_be_deleted(self, served: Path) -> None:
        (served / "hurt" / TASK_FILE).write_bytes(b"{")
        Registry(FolderStorage(served)).delete("hurt")

    def test_a_failed_write_leaves_no_version(
        self, served: Path, make_manifest: MakeManifest, make_head: MakeHead
    ) -> None:
        registry = Registry(FolderStorage(served))
        with pytest.raises(ValueError, match="JSON"):
            registry.add_version("hurt", make_manifest(report={"r2": float("nan")}), make_head())
        assert sorted(path.name for path in (served / "hurt" / VERSIONS).iterdir()) == [
            "000001",
            "000002",
        ]

    def test_a_head_stays_in_use_while_its_pointer_does_not_move(self, served: Path) -> None:
        registry = Registry(FolderStorage(served))
        shutil.rmtree(served / "hurt" / VERSIONS / "000001")
        registry.refresh()
        assert list(registry.snapshot.get("hurt").versions) == [2]
        assert winner(registry, "hurt") == 1

    def test_the_pointer_file_is_plain_json(self, served: Path) -> None:
        assert json.loads((served / "good" / POINTER).read_text())["version"] == 2

    def test_damaged_rows_are_told_and_not_needed_to_answer(
        self,
        registry: Registry,
        root: Path,
        make_manifest: MakeManifest,
        make_head: MakeHead,
    ) -> None:
        registry.create("mood", "single_label", None, None)
        rows = ExampleRows.of(np.zeros((3, 1), np.uint8), np.array([0, 1, 0]), TRAIN)
        number = registry.add_version("mood", make_manifest(), make_head(), rows)
        (root / "mood" / VERSIONS / f"{number:06d}" / EXAMPLES).write_bytes(b"x")
        with pytest.raises(Conflict, match="cannot be read"):
            registry.rows("mood", number)
        registry.activate("mood", number)

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"min_confidence": "x"}'], ids=short)
    def test_damaged_settings_are_the_default(
        self, registry: Registry, root: Path, add: Callable[..., int], data: bytes
    ) -> None:
        registry.create("mood", "single_label", None, None)
        number = add(registry, "mood")
        registry.configure("mood", number, VersionSettings(min_confidence=0.7))
        (root / "mood" / SETTINGS / f"{number:06d}.json").write_bytes(data)
        assert (
            Registry(FolderStorage(root)).snapshot.get("mood").settings_of(number)
            == VersionSettings()
        )

    @pytest.mark.parametrize(
        "name",
        ["../x", "a/b", "/etc", "", ".", "..", "A", "-a", "a" * 65, "a.b", "a\x00", "é", "abc\n"],
    )
    def test_names_that_could_leave_the_folder_are_refused(
        self, registry: Registry, root: Path, name: str
    ) -> None:
        with pytest.raises(InvalidField):
            registry.create(name, "single_label", None, None)
        for call in (registry.delete, registry._reread):
            with pytest.raises(NotFound):
                call(name)
        assert [path.name for path in root.parent.rglob("*")] == ["tasks"]

    def test_a_deleted_task_leaves_nothing(
        self, registry: Registry, root: Path, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", None, None)
        add(registry, "mood")
        registry.delete("mood")
        assert not list(root.iterdir())


class TestRowsAndSettings:
    def test_rows_are_kept_beside_a_version(
        self,
        registry: Registry,
        opened: Opened,
        make_manifest: MakeManifest,
        make_head: MakeHead,
    ) -> None:
        registry.create("mood", "single_label", None, None)
        rows = ExampleRows.of(np.zeros((3, 1), np.uint8), np.array([0, 1, 0]), TRAIN)
        number = registry.add_version("mood", make_manifest(), make_head(), rows)
        plain = registry.add_version("mood", make_manifest(), make_head())
        read = opened().rows("mood", number)
        assert read is not None
        assert read.targets.tolist() == [0, 1, 0]
        assert read.version.tolist() == [number] * 3
        assert registry.rows("mood", plain) is None
        with pytest.raises(NotFound):
            registry.rows("mood", 9)

    def test_settings_are_seen_by_every_process_and_survive(
        self, registry: Registry, opened: Opened, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", None, None)
        first, second = add(registry, "mood"), add(registry, "mood")
        other = opened()
        before = other.snapshot
        settings = VersionSettings(min_confidence=0.7, coverage=0.5, accuracy=1.0)
        registry.configure("mood", first, settings)
        assert other.refresh()
        assert other.snapshot is not before
        for one in (registry, other, opened()):
            state = one.snapshot.get("mood")
            assert state.settings_of(first) == settings
            assert state.settings_of(second) == VersionSettings()
        registry.configure("mood", first, VersionSettings())
        assert other.refresh()
        assert other.snapshot.get("mood").settings_of(first).min_confidence is None
        with pytest.raises(NotFound):
            registry.configure("mood", 9, settings)

    def test_a_task_made_anew_has_none_of_the_old_settings(
        self, registry: Registry, add: Callable[..., int]
    ) -> None:
        registry.create("mood", "single_label", None, None)
        registry.configure("mood", add(registry, "mood"), VersionSettings(min_confidence=0.7))
        registry.delete("mood")
        registry.create("mood", "single_label", None, None)
        number = add(registry, "mood")
        assert registry.snapshot.get("mood").settings_of(number) == VersionSettings()
