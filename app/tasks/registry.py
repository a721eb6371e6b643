"""The registry of tasks on disk: one folder a task, laid out as `app.tasks.task_files` says.

A version is written beside its place and renamed into it, whole and synced; pointers are replaced
atomically. Any number of processes may share the folder: each looks at it every half second (the
stamps of the pointers, a few microseconds a task) and swaps in a new `Snapshot` when one changed.
All methods block on the disk; the service calls them in threads.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
import time
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.errors import Conflict, InvalidField, NotFound
from app.files import replace_file
from app.schemas import TASK_NAME, VersionSettings
from app.tasks.state import Snapshot, TaskState
from app.tasks.task_files import NAME, POINTER, SETTINGS, SHADOW, TASK_FILE, VERSIONS, TaskFiles
from models.artifact import ArtifactError, sync_folder
from models.example_rows import ExampleRows, load_rows, save_rows
from models.head_artifact import HeadManifest, load_head, save_head
from models.head_runtime import Head, TaskKind
from models.reference import Reference, load_reference, save_reference

logger = logging.getLogger(__name__)


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
            stamps = {name: self._files(name).stamp() for name in self._names()}
            if stamps == self._stamps:
                return False
            known = self.snapshot.tasks
            tasks = {}
            for name, stamp in stamps.items():
                if self._stamps.get(name) == stamp and name in known:
                    tasks[name] = known[name]
                    continue
                state = self._files(name).read(known.get(name))
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
        if not NAME.fullmatch(name):
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
        if not NAME.fullmatch(name):
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
        self,
        name: str,
        manifest: HeadManifest,
        head: Head,
        rows: ExampleRows | None = None,
        reference: Reference | None = None,
    ) -> int:
        """Store a new version durably and return its number.

        With it the rows it was made from, and what live traffic is compared with.

        Raises:
            NotFound: the task is gone.
        """
        state = self._reread(name)
        files = self._files(name)
        versions = files.folder / VERSIONS
        temporary = versions / f".new-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            if rows is not None:
                save_rows(temporary, rows)
            if reference is not None:
                save_reference(temporary, reference)
            save_head(temporary, manifest, head)
            number = files.next_number()
            while files.grave(number).exists() or not _rename_into(
                temporary, files.version(number)
            ):
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
        """Point the task at a version. If it was the shadow, it no longer is.

        Raises:
            NotFound: no such task or version.
            Conflict: the version's files are damaged.
        """
        self._point(name, POINTER, version)
        self._end_shadow(name, version)

    def set_shadow(self, name: str, version: int | None) -> None:
        """Let a version answer beside the active one, unseen; None: no longer any.

        Raises:
            NotFound: no such task or version.
            Conflict: the version's files are damaged.
        """
        if version is not None:
            self._point(name, SHADOW, version)
            return
        self._reread(name)
        (self._root / name / SHADOW).unlink(missing_ok=True)
        self.refresh()

    def delete_version(self, name: str, version: int) -> None:
        """Remove a version and all that was stored with it; its number is not given again.

        Raises:
            NotFound: no such task or version.
            Conflict: it is the active one.
        """
        self.version(name, version)
        if self.snapshot.get(name).active == version:
            raise Conflict(
                f"version {version} of {name!r} is the active one: activate another first, or "
                "delete the task",
                param="version",
                code="version_active",
            )
        files = self._files(name)
        files.grave(version).touch()
        sync_folder(files.folder / VERSIONS)
        doomed = files.folder / VERSIONS / f".deleted-{uuid.uuid4().hex}"
        try:
            files.version(version).rename(doomed)
        except FileNotFoundError:
            pass  # another process was faster
        else:
            sync_folder(files.folder / VERSIONS)
            shutil.rmtree(doomed, ignore_errors=True)
        files.settings(version).unlink(missing_ok=True)
        self._end_shadow(name, version)
        self.refresh()

    def _end_shadow(self, name: str, version: int) -> None:
        if self.snapshot.get(name).shadow == version:
            self.set_shadow(name, None)

    def _point(self, name: str, file: str, version: int) -> None:
        self.head(name, version)
        _write_json(self._root / name / file, {"version": version, "at": time.time()})
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
            return load_head(self._files(name).version(version))[1]
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
            rows = load_rows(self._files(name).version(version), manifest.bits)
        except ArtifactError as error:
            raise Conflict(f"the rows of version {version} cannot be read: {error}") from error
        return None if rows is None else rows.known_as(version)

    def reference(self, name: str, version: int) -> Reference | None:
        """What live traffic is compared with; None for a version that was stored without.

        Raises:
            NotFound: no such task or version.
            Conflict: the file is damaged.
        """
        # As last read: looking at the disk for each of many tasks looks at all of them each time.
        manifest = self.snapshot.get(name).version(version)
        folder = self._files(name).version(version)
        try:
            return load_reference(folder, manifest.bits, len(manifest.labels))
        except ArtifactError as error:
            raise Conflict(f"version {version} cannot be compared: {error}") from error

    def configure(self, name: str, version: int, settings: VersionSettings) -> None:
        """Change how a version answers, from now on and in every process.

        Raises:
            NotFound: no such task or version.
        """
        self.version(name, version)
        files = self._files(name)
        (files.folder / SETTINGS).mkdir(exist_ok=True)
        _write_json(files.settings(version), settings.model_dump())
        self.refresh()

    def _reread(self, name: str) -> TaskState:
        self.refresh()
        return self.snapshot.get(name)

    def _names(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return sorted(e.name for e in entries if NAME.fullmatch(e.name) and e.is_dir())

    def _files(self, name: str) -> TaskFiles:
        return TaskFiles(self._root / name)

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
