"""The registry of tasks on disk.

    tasks/NAME/task.json                      kind, labels, description
    tasks/NAME/versions/000001/manifest.json  one immutable folder a head version
    tasks/NAME/versions/000001/weights.safetensors
    tasks/NAME/versions/000001/examples.safetensors  codes and labels that it was made from
    tasks/NAME/active.json                    the pointer: {"version": 1}
    tasks/NAME/settings/000001.json           how a version answers, changed at any time

A version is written beside its place and renamed into it, whole and synced; the pointer is replaced
atomically. Any number of processes may share the folder: each looks at it every half second (the
stamps of the pointers, a few microseconds a task) and swaps in a new `Snapshot` when one changed.
All methods block on the disk; the service calls them in threads.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

from app.errors import Conflict, InvalidField, NotFound
from app.files import replace_file
from app.schemas import TASK_NAME, VersionSettings
from models.artifact import ArtifactError, read_manifest, sync_folder
from models.example_rows import ExampleRows, load_rows, save_rows
from models.head_artifact import HeadManifest, load_head, save_head
from models.head_runtime import Head, TaskKind

logger = logging.getLogger(__name__)

TASK_FILE = "task.json"
POINTER = "active.json"
VERSIONS = "versions"
SETTINGS = "settings"
DEFAULT_SETTINGS = VersionSettings()
_NAME = re.compile(TASK_NAME)
# What reading a damaged JSON file can raise: deep nesting and huge numbers have their own errors.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task as last read. `head` is the active version's, None when nothing usable is active."""

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


class Registry:
    """Tasks and their head versions under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[Any, ...]] = {}
        self.snapshot = Snapshot(MappingProxyType({}))
        root.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> bool:
        """Look at the disk; swap in a new snapshot if anything changed. Returns whether."""
        with self._lock:
            stamps = {name: self._stamp(name) for name in self._names()}
            if stamps == self._stamps:
                return False
            known = self.snapshot.tasks
            tasks = {}
            for name, stamp in stamps.items():
                if self._stamps.get(name) == stamp and name in known:
                    tasks[name] = known[name]
                    continue
                state = self._read(name, known.get(name))
                if state is not None:
                    tasks[name] = state
            self._stamps = stamps
            self.snapshot = Snapshot(MappingProxyType(tasks))
            return True

    def create(
        self,
        name: str,
        kind: TaskKind,
        labels: list[str] | None,
        description: str | None,
        *,
        ready_made: bool = False,
    ) -> bool:
        """Make a task; False if the same one is there already.

        Raises:
            Conflict: it exists with another kind or other labels.
        """
        if not _NAME.fullmatch(name):
            raise InvalidField(f"a task's name must match {TASK_NAME}", param="task")
        if labels is not None and len(set(labels)) != len(labels):
            raise InvalidField("labels: each may stand there once", param="labels")
        folder = self._root / name
        task_file = folder / TASK_FILE
        if task_file.exists():
            try:
                known = self._reread(name)
            except NotFound:
                raise Conflict(f"task {name!r} is damaged on disk; delete it first") from None
            if known.kind != kind or (labels and known.labels and list(known.labels) != labels):
                raise Conflict(f"task {name!r} exists with another kind or other labels")
            wanted = (tuple(labels or known.labels), description or known.description)
            if wanted != (known.labels, known.description):
                self._write_task(name, kind, *wanted, known.ready_made)
                self.refresh()
            return False
        self.refresh()  # forget a task of this name that another process deleted
        (folder / VERSIONS).mkdir(parents=True, exist_ok=True)
        self._write_task(name, kind, tuple(labels or ()), description, ready_made)
        sync_folder(self._root)
        self.refresh()
        return True

    def delete(self, name: str) -> None:
        """Remove a task with all versions.

        Raises:
            NotFound: there is none.
        """
        folder = self._root / name
        if not _NAME.fullmatch(name):
            raise NotFound(f"no task {name[:80]!r}", param="task", code="task_not_found")
        grave = self._root / f".deleted-{uuid.uuid4().hex}"
        try:
            folder.rename(grave)
        except FileNotFoundError:
            raise NotFound(f"no task {name!r}", param="task", code="task_not_found") from None
        sync_folder(self._root)
        shutil.rmtree(grave, ignore_errors=True)
        self.refresh()

    def add_version(
        self, name: str, manifest: HeadManifest, head: Head, rows: ExampleRows | None = None
    ) -> int:
        """Store a new version durably, with the rows it was made from, and return its number.

        Raises:
            NotFound: the task is gone.
        """
        state = self._reread(name)
        versions = self._root / name / VERSIONS
        temporary = versions / f".new-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            if rows is not None:
                save_rows(temporary, rows)
            save_head(temporary, manifest, head)
            number = max(self._numbers(name), default=0) + 1
            while not _rename_into(temporary, versions / f"{number:06d}"):
                number += 1  # another process was faster
            sync_folder(versions)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if not state.labels:
            self._write_task(name, state.kind, manifest.labels, state.description, state.ready_made)
        self.refresh()
        return number

    def activate(self, name: str, version: int) -> None:
        """Point the task at a version.

        Raises:
            NotFound: no such task or version.
            Conflict: the version's files are damaged.
        """
        self.head(name, version)
        _write_json(self._root / name / POINTER, {"version": version, "at": time.time()})
        self.refresh()

    def version(self, name: str, version: int) -> HeadManifest:
        """The manifest of one version.

        Raises:
            NotFound: no such task or version.
        """
        return self._reread(name).version(version)

    def head(self, name: str, version: int) -> Head:
        """The weights of one version.

        Raises:
            NotFound: no such task or version.
            Conflict: its files are damaged.
        """
        self.version(name, version)
        try:
            return load_head(self._folder(name, version))[1]
        except ArtifactError as error:
            raise Conflict(f"version {version} of {name!r} cannot be used: {error}") from error

    def rows(self, name: str, version: int) -> ExampleRows | None:
        """The rows that a version was made from; None for one that was stored without.

        Raises:
            NotFound: no such task or version.
            Conflict: the file is damaged.
        """
        manifest = self.version(name, version)
        try:
            rows = load_rows(self._folder(name, version), manifest.bits)
        except ArtifactError as error:
            raise Conflict(f"the rows of version {version} cannot be read: {error}") from error
        return None if rows is None else rows.known_as(version)

    def configure(self, name: str, version: int, settings: VersionSettings) -> None:
        """Change how a version answers, from now on and in every process.

        Raises:
            NotFound: no such task or version.
        """
        self.version(name, version)
        folder = self._root / name / SETTINGS
        folder.mkdir(exist_ok=True)
        _write_json(folder / f"{version:06d}.json", settings.model_dump())
        self.refresh()

    def _reread(self, name: str) -> TaskState:
        self.refresh()
        return self.snapshot.get(name)

    def _names(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return sorted(e.name for e in entries if _NAME.fullmatch(e.name) and e.is_dir())

    def _numbers(self, name: str) -> list[int]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / name / VERSIONS) as e:
            return sorted(int(entry.name) for entry in e if entry.name.isdecimal())
        return []

    def _folder(self, name: str, version: int) -> Path:
        return self._root / name / VERSIONS / f"{version:06d}"

    def _stamp(self, name: str) -> tuple[Any, ...]:
        """Changes whenever the task, its pointer or its list of versions does."""
        stamp: list[Any] = []
        for path in (TASK_FILE, POINTER, VERSIONS, SETTINGS):
            try:
                status = os.stat(self._root / name / path)
            except FileNotFoundError:
                stamp.append(None)
            else:
                # Links too: a folder gains one with each version, should two fall into one tick.
                stamp.append((status.st_mtime_ns, status.st_ino, status.st_size, status.st_nlink))
        return tuple(stamp)

    def _read(self, name: str, known: TaskState | None) -> TaskState | None:
        folder = self._root / name
        try:
            task = json.loads((folder / TASK_FILE).read_bytes())
            kind = task["kind"]
            if kind not in get_args(TaskKind):
                raise ValueError(f"unknown kind {kind!r}")
            labels = tuple(str(label) for label in task["labels"])
            created_at = float(task["created_at"])
        except FileNotFoundError:
            return None  # being made, or gone since
        except _DAMAGE as error:
            logger.error("task %s is damaged and left out: %s", name, error)
            return None
        if known is not None and known.created_at != created_at:
            known = None  # deleted and made anew since: its version numbers mean others now
        versions = dict(known.versions) if known else {}
        numbers = self._numbers(name)
        for number in set(versions) - set(numbers):
            del versions[number]
        for number in numbers:
            if number not in versions:
                with self._damage_logged(name, number):
                    manifest = HeadManifest.from_json(read_manifest(self._folder(name, number)))
                    versions[number] = manifest
        active = self._pointer(name)
        head = None
        if active is not None and active in versions:
            if known is not None and known.active == active and known.head is not None:
                head = known.head
            else:
                with self._damage_logged(name, active):
                    _, head = load_head(self._folder(name, active))
        return TaskState(
            name=name,
            kind=cast(TaskKind, kind),
            labels=labels,
            description=task.get("description"),
            ready_made=bool(task.get("ready_made")),
            created_at=created_at,
            versions=MappingProxyType(versions),
            active=active if head is not None else None,
            head=head,
            settings=MappingProxyType(self._settings(name, versions)),
        )

    def _settings(self, name: str, versions: Iterable[int]) -> dict[int, VersionSettings]:
        settings = {}
        for number in versions:
            path = self._root / name / SETTINGS / f"{number:06d}.json"
            try:
                settings[number] = VersionSettings.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue
            except _DAMAGE as error:
                logger.error(
                    "the settings of version %d of %s are damaged: %s", number, name, error
                )
        return settings

    def _pointer(self, name: str) -> int | None:
        try:
            return int(json.loads((self._root / name / POINTER).read_bytes())["version"])
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            logger.error("the pointer of task %s is damaged: %s", name, error)
            return None

    @contextlib.contextmanager
    def _damage_logged(self, name: str, number: int) -> Any:
        try:
            yield
        except ArtifactError as error:
            logger.error("version %d of task %s is damaged and left out: %s", number, name, error)

    def _write_task(
        self,
        name: str,
        kind: TaskKind,
        labels: tuple[str, ...],
        description: str | None,
        ready_made: bool,
    ) -> None:
        known = self.snapshot.tasks.get(name)
        _write_json(
            self._root / name / TASK_FILE,
            {
                "kind": kind,
                "labels": list(labels),
                "description": description,
                "ready_made": ready_made,
                "created_at": known.created_at if known else time.time(),
            },
        )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    replace_file(path, json.dumps(value, ensure_ascii=False).encode(), durable=True)


def _rename_into(source: Path, target: Path) -> bool:
    """Rename a folder; False when the target is taken."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True
