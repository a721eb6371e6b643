"""Tasks as last read from their storage, for everything that asks about them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from app.errors import Conflict, NotFound
from app.schemas import VersionSettings
from models.head_artifact import HeadManifest
from models.head_runtime import Head, TaskKind

DEFAULT_SETTINGS = VersionSettings()


@dataclass(frozen=True, slots=True)
class TaskFields:
    """What a task is, apart from its versions."""

    kind: TaskKind
    labels: tuple[str, ...]
    description: str | None
    ready_made: bool
    created_at: float

    def agreed(
        self, name: str, kind: TaskKind, labels: list[str] | None, description: str | None
    ) -> TaskFields:
        """These fields after the task was asked for once more.

        Raises:
            Conflict: it has another kind or other labels.
        """
        if self.kind != kind or (labels and self.labels and list(self.labels) != labels):
            raise Conflict(f"task {name!r} exists with another kind or other labels")
        return replace(
            self,
            labels=tuple(labels or self.labels),
            description=description or self.description,
        )


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
            raise no_version(self.name, number)
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
            raise no_task(name, param="tasks")
        return state


def known_heads(known: TaskState | None) -> dict[int, Head]:
    """Heads that are in memory already, by version."""
    pairs = ((known.active, known.head), (known.shadow, known.shadow_head)) if known else ()
    return {number: head for number, head in pairs if number is not None and head is not None}


def no_task(name: str, *, param: str = "task") -> NotFound:
    """The error for a task that is not there."""
    return NotFound(f"no task {name[:80]!r}", param=param, code="task_not_found")


def no_version(name: str, number: int) -> NotFound:
    """The error for a version that is not there."""
    return NotFound(
        f"task {name!r} has no version {number}", param="version", code="version_not_found"
    )


def version_active(name: str, number: int) -> Conflict:
    """The error for deleting what answers."""
    return Conflict(
        f"version {number} of {name!r} is the active one: activate another first, or "
        "delete the task",
        param="version",
        code="version_active",
    )
