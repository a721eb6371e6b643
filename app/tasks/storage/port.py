"""What the registry asks of the place where tasks are kept.

Two places do it: `folder.FolderStorage`, a folder that processes of one machine (or of one network
file system) share, and `shared.SharedStorage`, an object store. A version's files never change once
it has a number. Whatever changes is atomic: others see the state before it or the one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

from app.schemas import VersionSettings
from app.tasks.state import TaskState
from models.head_runtime import TaskKind

Pointer = Literal["active", "shadow"]
WriteFiles = Callable[[Path], None]


class RegistryUnusable(Exception):
    """The place that is named cannot be used as a registry, or not now. Ends the start."""


class Storage(Protocol):
    """Tasks and their versions. Blocking; called in threads.

    All that change something raise `NotFound` where the task or version is gone, and
    `StorageUnavailable` (or an `OSError` of the disk) where nothing can be stored.
    """

    @property
    def is_up(self) -> bool:
        """Whether the storage answered when it was last looked at."""

    def read(self, known: Mapping[str, TaskState]) -> dict[str, TaskState] | None:
        """All tasks; None where nothing changed since the last call, or it cannot be known.

        Args:
            known: as given by the last call; parts that cannot have changed are taken from it.
        """

    def create(
        self,
        name: str,
        kind: TaskKind,
        labels: list[str] | None,
        description: str | None,
        ready_made: bool,
    ) -> bool:
        """Make a task; False if it is there, with `Conflict` if it is another one."""

    def delete(self, name: str) -> None:
        """Remove a task with all its versions."""

    def add_version(
        self,
        name: str,
        write: WriteFiles,
        labels: tuple[str, ...],
        *,
        mark: str | None = None,
        activate: bool = False,
    ) -> int | None:
        """Store a version whole, and return its number.

        Args:
            name: of the task, which gets the labels if it has none.
            write: writes the version's files into an empty folder.
            labels: of the version.
            mark: of what is installed: None is returned, and nothing stored, if the task has it.
            activate: point the task at it.
        """

    def point(self, name: str, pointer: Pointer, version: int | None) -> None:
        """Set a pointer, or unset it. The version that becomes active is no shadow any more."""

    def delete_version(self, name: str, version: int) -> None:
        """Remove a version, with `Conflict` if it is active. Its number is not given again."""

    def configure(self, name: str, version: int, settings: VersionSettings) -> None:
        """Replace a version's settings."""

    def version_folder(self, name: str, version: int, files: Sequence[str]) -> Path:
        """A local folder that has the named files of a version, as far as it has them."""

    def installing(self) -> AbstractContextManager[None]:
        """Held while shipped heads are installed."""

    def marks(self) -> dict[str, str]:
        """What shipped heads were installed: a digest by task."""

    def mark(self, name: str, digest: str) -> None:
        """Remember a shipped head as installed without installing it."""
