"""Where a task's files lie, and reading them. Whatever is damaged is logged and left out.

NAME/task.json                      kind, labels, description
NAME/versions/000001/manifest.json  one immutable folder a head version
NAME/versions/000001/weights.safetensors
NAME/versions/000001/examples.safetensors  codes and labels that it was made from
NAME/versions/000001/reference.safetensors  how often their bits are set
NAME/versions/000002.deleted        a number that is not given again
NAME/active.json                    the pointer: {"version": 1}
NAME/shadow.json                    another: the version that answers beside it, unseen
NAME/settings/000001.json           how a version answers, changed at any time
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

from app.schemas import TASK_NAME, VersionSettings
from app.tasks.state import TaskFields, TaskState, known_heads
from models.artifact import ArtifactError, read_manifest
from models.head_artifact import HeadManifest, load_head
from models.head_runtime import Head, TaskKind

logger = logging.getLogger(__name__)

TASK_FILE = "task.json"
POINTER = "active.json"
SHADOW = "shadow.json"
VERSIONS = "versions"
SETTINGS = "settings"
DELETED = ".deleted"
NAME = re.compile(TASK_NAME)
# What reading a damaged JSON file can raise: deep nesting and huge numbers have their own errors.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError)


class DamagedTask(ValueError):
    """A task's file is there and cannot be read."""


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """One task's folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def version(self, number: int) -> Path:
        """The folder of a version."""
        return self.folder / VERSIONS / f"{number:06d}"

    def grave(self, number: int) -> Path:
        """The file that stands where a version was."""
        return self.folder / VERSIONS / f"{number:06d}{DELETED}"

    def settings(self, number: int) -> Path:
        """How a version answers."""
        return self.folder / SETTINGS / f"{number:06d}.json"

    def numbers(self) -> list[int]:
        """Versions that are there."""
        return sorted(int(name) for name in self._versions() if name.isdecimal())

    def next_number(self) -> int:
        """A number that no version has or had."""
        names = (name.removesuffix(DELETED) for name in self._versions())
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1

    def stamp(self) -> tuple[Any, ...]:
        """Changes whenever the task, its pointers, its settings or its list of versions do."""
        stamp: list[Any] = []
        for path in (TASK_FILE, POINTER, SHADOW, VERSIONS, SETTINGS):
            try:
                status = os.stat(self.folder / path)
            except FileNotFoundError:
                stamp.append(None)
            else:
                # Links too: a folder gains one with each version, should two fall into one tick.
                stamp.append((status.st_mtime_ns, status.st_ino, status.st_size, status.st_nlink))
        if stamp[-1] is not None:
            # Settings of two versions may change within one tick: their files are new ones then.
            with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / SETTINGS) as e:
                stamp.append(sorted((entry.name, entry.inode()) for entry in e))
        return tuple(stamp)

    def fields(self) -> TaskFields | None:
        """What the task is; None where there is none.

        Raises:
            DamagedTask: its file cannot be read.
        """
        try:
            task = json.loads((self.folder / TASK_FILE).read_bytes())
            if task["kind"] not in get_args(TaskKind):
                raise ValueError(f"unknown kind {task['kind']!r}")
            return TaskFields(
                kind=cast(TaskKind, task["kind"]),
                labels=tuple(str(label) for label in task["labels"]),
                description=task.get("description"),
                ready_made=bool(task.get("ready_made")),
                created_at=float(task["created_at"]),
            )
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            raise DamagedTask(str(error)) from error

    def read(self, known: TaskState | None) -> TaskState | None:
        """The task, anew but for what cannot have changed; None if there is none to be read."""
        try:
            task = self.fields()
        except DamagedTask as error:
            logger.error("task %s is damaged and left out: %s", self.name, error)
            return None
        if task is None:
            return None  # being made, or gone since
        if known is not None and known.created_at != task.created_at:
            known = None  # deleted and made anew since: its version numbers mean others now
        versions = self._manifests(known)
        heads = known_heads(known)
        active, head = self._pointed(POINTER, versions, heads)
        shadow, shadow_head = self._pointed(SHADOW, versions, heads)
        return TaskState(
            name=self.name,
            kind=task.kind,
            labels=task.labels,
            description=task.description,
            ready_made=task.ready_made,
            created_at=task.created_at,
            versions=MappingProxyType(versions),
            active=active,
            head=head,
            settings=MappingProxyType(self._settings(versions)),
            shadow=shadow,
            shadow_head=shadow_head,
        )

    def _versions(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / VERSIONS) as entries:
            return [entry.name for entry in entries]
        return []

    def _manifests(self, known: TaskState | None) -> dict[int, HeadManifest]:
        versions = {}
        for number in self.numbers():
            if known is not None and number in known.versions:
                versions[number] = known.versions[number]
                continue
            with self._damage_logged(number):
                manifest = HeadManifest.from_json(read_manifest(self.version(number)))
                versions[number] = manifest
        return versions

    def _pointed(
        self, file: str, versions: dict[int, HeadManifest], heads: dict[int, Head]
    ) -> tuple[int | None, Head | None]:
        """The version that a pointer names and its head; nothing where it cannot be used."""
        number = self.pointer(file)
        if number is None or number not in versions:
            return None, None
        if number not in heads:
            with self._damage_logged(number):
                _, heads[number] = load_head(self.version(number))
        return (number, heads[number]) if number in heads else (None, None)

    def pointer(self, file: str) -> int | None:
        """The number in a pointer; None where it cannot be read."""
        try:
            return int(json.loads((self.folder / file).read_bytes())["version"])
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            logger.error("%s of task %s is damaged: %s", file, self.name, error)
            return None

    def _settings(self, versions: Iterable[int]) -> dict[int, VersionSettings]:
        settings = {}
        for number in versions:
            try:
                data = self.settings(number).read_bytes()
                settings[number] = VersionSettings.model_validate_json(data)
            except FileNotFoundError:
                continue
            except _DAMAGE as error:
                logger.error(
                    "the settings of version %d of %s are damaged: %s", number, self.name, error
                )
        return settings

    @contextlib.contextmanager
    def _damage_logged(self, number: int) -> Iterator[None]:
        try:
            yield
        except ArtifactError as error:
            logger.error(
                "version %d of task %s is damaged and left out: %s", number, self.name, error
            )
