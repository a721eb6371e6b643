"""Tasks as last read from the disk, for everything that asks about them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.errors import NotFound
from app.schemas import VersionSettings
from models.head_artifact import HeadManifest
from models.head_runtime import Head, TaskKind

DEFAULT_SETTINGS = VersionSettings()


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task as last read.

    `head` is the active version's, None when nothing usable is active; `shadow_head` that of the
    version which answers beside it, unseen.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    description: str | None
    ready_made: bool
    created_at: float
    versions: MappingProxyType[int, HeadManifest]
    active: int | None
    head: Head | None
    settings: MappingProxyType[int, VersionSettings] = field(
        default_factory=lambda: MappingProxyType({})
    )
    shadow: int | None = None
    shadow_head: Head | None = None

    def version(self, number: int) -> HeadManifest:
        """The manifest of one version.

        Raises:
            NotFound: there is none of that number.
        """
        manifest = self.versions.get(number)
        if manifest is None:
            raise NotFound(
                f"task {self.name!r} has no version {number}",
                param="version",
                code="version_not_found",
            )
        return manifest

    def settings_of(self, number: int) -> VersionSettings:
        """How a version answers."""
        return self.settings.get(number, DEFAULT_SETTINGS)

    @property
    def active_manifest(self) -> HeadManifest | None:
        return self.versions.get(self.active) if self.active is not None else None


@dataclass(frozen=True)
class Snapshot:
    """All tasks at one moment. Never changed, only replaced; `plans` caches what is made of it."""

    tasks: MappingProxyType[str, TaskState]
    plans: dict[Any, Any] = field(default_factory=dict)

    def get(self, name: str) -> TaskState:
        """A task by name.

        Raises:
            NotFound: there is none.
        """
        state = self.tasks.get(name)
        if state is None:
            raise NotFound(f"no task {name[:80]!r}", param="tasks", code="task_not_found")
        return state
