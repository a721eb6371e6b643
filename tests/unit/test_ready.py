"""app.tasks.ready: shipped heads are installed once, and the user's word counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.tasks.ready import install_ready_heads
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from models.artifact import MANIFEST
from models.head_artifact import WEIGHTS, HeadManifest, save_head
from models.head_runtime import LinearHead
from models.reference import make_reference, save_reference

CARD = {"use": "Tells moods apart."}


class Home:
    """A registry, a folder of shipped heads, and the marks."""

    def __init__(
        self, folder: Path, manifest: Callable[..., Any], head: Callable[..., Any]
    ) -> None:
        self.registry = Registry(FolderStorage(folder / "tasks"))
        self.shipped = folder / "shipped"
        self.shipped.mkdir()
        self.marks = folder / "ready-heads.json"
        self._manifest, self._head = manifest, head

    def ship(self, name: str, winner: int = 0, **fields: Any) -> None:
        folder = self.shipped / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        manifest = self._manifest(**{"card": CARD} | fields)
        save_head(
            folder,
            manifest,
            self._head(winner, bits=manifest.bits, outputs=len(manifest.labels)),
            half=True,
        )

    def train(self, name: str) -> int:
        """A version of the user's own."""
        return self.registry.add_version(name, self._manifest(card=None), self._head())

    def install(self) -> list[str]:
        return install_ready_heads(self.registry, self.shipped)

    def winner(self, name: str) -> int:
        head = self.registry.snapshot.get(name).head
        assert head is not None
        return int(head.tensors()["bias"].argmax())


@pytest.fixture
def home(
    tmp_path: Path,
    make_manifest: Callable[..., HeadManifest],
    make_head: Callable[..., LinearHead],
) -> Home:
    return Home(tmp_path, make_manifest, make_head)


def test_shipped_heads_are_installed_and_active(home: Home) -> None:
    home.ship("mood", 1)
    home.ship("topic")
    assert home.install() == ["mood", "topic"]
    state = home.registry.snapshot.get("mood")
    assert (state.active, state.labels, state.ready_made) == (1, ("a", "b"), True)
    assert state.description == "Tells moods apart."
    assert home.winner("mood") == 1


def test_they_are_installed_once(home: Home) -> None:
    home.ship("mood")
    home.install()
    assert home.install() == []
    assert list(home.registry.snapshot.get("mood").versions) == [1]


def test_a_deleted_one_stays_deleted_even_when_a_newer_one_comes(home: Home) -> None:
    home.ship("mood")
    home.install()
    home.registry.delete("mood")
    assert home.install() == []
    home.ship("mood", 1)
    assert home.install() == []
    assert home.install() == []
    assert not home.registry.snapshot.tasks


def test_a_newer_one_becomes_a_new_active_version(home: Home) -> None:
    home.ship("mood", 0)
    home.install()
    home.ship("mood", 1)
    assert home.install() == ["mood"]
    state = home.registry.snapshot.get("mood")
    assert (list(state.versions), state.active) == ([1, 2], 2)
    assert home.winner("mood") == 1


def test_a_reference_that_came_later_is_picked_up_once(home: Home, random_codes: Any) -> None:
    home.ship("mood", bits=64)
    home.install()
    assert home.registry.reference("mood", 1) is None
    reference = make_reference(random_codes(50))
    assert reference is not None
    save_reference(home.shipped / "mood", reference)
    assert home.install() == ["mood"]
    assert home.registry.snapshot.get("mood").active == 2
    found = home.registry.reference("mood", 2)
    assert found is not None
    assert found.rows == 50
    assert home.install() == []


def test_a_newer_one_does_not_replace_the_users_active_version(home: Home) -> None:
    home.ship("mood")
    home.install()
    home.registry.activate("mood", home.train("mood"))
    home.ship("mood", 1)
    assert home.install() == ["mood"]
    state = home.registry.snapshot.get("mood")
    assert (list(state.versions), state.active) == ([1, 2, 3], 2)


@pytest.mark.parametrize("labels", [["x", "y"], ["a", "b"]])
def test_a_task_of_the_users_with_that_name_is_not_touched(home: Home, labels: list[str]) -> None:
    home.registry.create("mood", "single_label", labels, "mine")
    before = home.registry.snapshot.get("mood")
    home.ship("mood")
    home.ship("topic")
    assert home.install() == ["topic"]
    assert home.registry.snapshot.get("mood") is before


def test_a_damaged_one_does_not_stop_the_others_and_may_be_mended(home: Home) -> None:
    home.ship("broken")
    home.ship("mood")
    (home.shipped / "broken" / WEIGHTS).write_bytes(b"x")
    assert home.install() == ["mood"]
    home.ship("broken")
    assert home.install() == ["broken"]


def test_files_and_folders_that_are_no_heads_are_passed_over(home: Home) -> None:
    home.ship("mood")
    (home.shipped / "README.md").write_text("x")
    (home.shipped / "empty").mkdir()
    for missing in (MANIFEST, WEIGHTS):
        home.ship("half")
        (home.shipped / "half" / missing).unlink()
        home.install()
    assert list(home.registry.snapshot.tasks) == ["mood"]


@pytest.mark.parametrize("fields", [{"labels": ("x", "y", "z")}, {"kind": "multi_label"}], ids=str)
def test_a_newer_one_of_another_shape_stays_out_and_stops_nothing(
    home: Home, fields: dict[str, Any]
) -> None:
    home.ship("mood")
    home.install()
    home.ship("mood", **fields)
    home.ship("topic")
    assert home.install() == ["topic"]
    assert home.registry.snapshot.get("mood").active == 1


def test_a_folder_with_a_name_that_no_task_can_have_stops_nothing(home: Home) -> None:
    home.ship("Not A Task")
    home.ship("topic")
    assert home.install() == ["topic"]


def test_damaged_marks_do_not_stop_the_start(home: Home) -> None:
    home.ship("mood")
    home.install()
    home.marks.write_text("{")
    home.install()
