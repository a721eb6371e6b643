"""app.tasks.registry: deleting versions, and shadows, in a folder and on a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import Conflict, NotFound
from app.schemas import VersionSettings
from app.tasks.registry import Registry
from app.tasks.task_files import SETTINGS, SHADOW, VERSIONS
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead

Opened = Callable[[], Registry]
in_a_folder = pytest.mark.parametrize("opened", ["folder"], indirect=True)


@pytest.fixture
def registry(
    opened: Opened,
    make_manifest: Callable[..., HeadManifest],
    make_head: Callable[..., LinearHead],
) -> Registry:
    """A task `mood` with three versions, the first active; version n always answers column n."""
    registry = opened()
    registry.create("mood", "single_label", None, None)
    for winner in range(3):
        manifest = make_manifest(labels=("a", "b", "c"))
        registry.add_version("mood", manifest, make_head(winner, outputs=3))
    registry.activate("mood", 1)
    return registry


@pytest.fixture
def add(
    make_manifest: Callable[..., HeadManifest], make_head: Callable[..., LinearHead]
) -> Callable[[Registry], int]:
    def add(registry: Registry) -> int:
        manifest = make_manifest(labels=("a", "b", "c"))
        return registry.add_version("mood", manifest, make_head(outputs=3))

    return add


def test_a_deleted_version_is_gone_everywhere(registry: Registry, opened: Opened) -> None:
    other = opened()
    registry.configure("mood", 3, VersionSettings(min_confidence=0.5))
    registry.delete_version("mood", 3)
    other.refresh()
    for one in (registry, other, opened()):
        assert list(one.snapshot.get("mood").versions) == [1, 2]
        for call in (one.head, one.rows, one.activate, one.delete_version):
            with pytest.raises(NotFound):
                call("mood", 3)


@in_a_folder
def test_of_a_deleted_version_its_number_is_left(registry: Registry, root: Path) -> None:
    registry.configure("mood", 3, VersionSettings(min_confidence=0.5))
    registry.set_shadow("mood", 3)
    registry.delete_version("mood", 3)
    assert not (root / "mood" / SHADOW).exists()
    assert not list((root / "mood" / SETTINGS).iterdir())
    assert sorted(path.name for path in (root / "mood" / VERSIONS).iterdir()) == [
        "000001",
        "000002",
        "000003.deleted",
    ]


def test_a_number_is_not_given_again(
    registry: Registry, opened: Opened, add: Callable[[Registry], int]
) -> None:
    """Or an answer's `version` would name two heads, and one's settings would be the other's."""
    registry.delete_version("mood", 3)
    assert add(opened()) == 4
    registry.delete_version("mood", 2)
    registry.delete_version("mood", 4)
    assert add(registry) == 5


def test_the_active_version_is_not_deleted(registry: Registry) -> None:
    with pytest.raises(Conflict, match="active") as caught:
        registry.delete_version("mood", 1)
    assert caught.value.code == "version_active"
    registry.activate("mood", 2)
    registry.delete_version("mood", 1)
    assert registry.snapshot.get("mood").active == 2


def test_a_shadow_is_seen_by_every_process_and_survives(registry: Registry, opened: Opened) -> None:
    other = opened()
    registry.set_shadow("mood", 3)
    assert other.refresh()
    for one in (registry, other, opened()):
        state = one.snapshot.get("mood")
        assert (state.active, state.shadow) == (1, 3)
        assert state.shadow_head is not None
        assert state.shadow_head.tensors()["bias"].argmax() == 2
    registry.set_shadow("mood", None)
    assert other.refresh()
    assert other.snapshot.get("mood").shadow is None
    registry.set_shadow("mood", None)  # there is none: nothing to end


def test_a_shadow_ends_when_it_is_promoted_or_deleted(registry: Registry) -> None:
    registry.set_shadow("mood", 2)
    registry.activate("mood", 3)
    assert registry.snapshot.get("mood").shadow == 2
    registry.activate("mood", 2)
    assert registry.snapshot.get("mood").shadow is None
    registry.set_shadow("mood", 3)
    registry.delete_version("mood", 3)
    assert registry.snapshot.get("mood").shadow is None


def test_only_what_there_is_can_be_a_shadow(registry: Registry) -> None:
    for task, version in (("mood", 9), ("none", 1)):
        with pytest.raises(NotFound):
            registry.set_shadow(task, version)


@in_a_folder
def test_a_damaged_pointer_is_no_shadow(registry: Registry, root: Path) -> None:
    (root / "mood" / SHADOW).write_text("{")
    (root / "mood" / "task.json").touch()
    registry.refresh()
    state = registry.snapshot.get("mood")
    assert (state.active, state.shadow) == (1, None)


@in_a_folder
def test_settings_that_change_within_one_tick_are_seen(
    registry: Registry, opened: Opened, root: Path
) -> None:
    """A folder's time may be the same after a second change: its files are not."""
    other = opened()
    registry.configure("mood", 1, VersionSettings(min_confidence=0.1))
    other.refresh()
    folder = root / "mood" / SETTINGS
    before = folder.stat()
    registry.configure("mood", 1, VersionSettings(min_confidence=0.2))
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.refresh()
    assert other.snapshot.get("mood").settings_of(1).min_confidence == 0.2
