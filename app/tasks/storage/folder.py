"""Tasks in a local folder: one folder a task, laid out as `app.tasks.task_files` says.

A version is written beside its place and renamed into it, whole and synced; pointers are replaced
atomically. Any number of processes may share the folder: each looks at the stamps of the pointers,
which takes a few microseconds a task.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.errors import Conflict
from app.files import replace_file
from app.schemas import VersionSettings
from app.tasks.state import TaskFields, TaskState, no_task, version_active
from app.tasks.storage.port import Pointer, WriteFiles
from app.tasks.task_files import (
    NAME,
    POINTER,
    SETTINGS,
    SHADOW,
    TASK_FILE,
    VERSIONS,
    DamagedTask,
    TaskFiles,
)
from models.artifact import sync_folder
from models.head_runtime import TaskKind

logger = logging.getLogger(__name__)

POINTERS: dict[Pointer, str] = {"active": POINTER, "shadow": SHADOW}


class FolderStorage:
    """Tasks under `root`, as `app.tasks.storage.port.Storage` has it.

    Args:
        root: made if it is not there.
        marks: the file that remembers what was installed; None: beside `root`.
    """

    def __init__(self, root: Path, marks: Path | None = None) -> None:
        self._root = root
        self._marks = marks or root.parent / "ready-heads.json"
        self._stamps: dict[str, tuple[Any, ...]] | None = None
        root.mkdir(parents=True, exist_ok=True)

    @property
    def is_up(self) -> bool:
        return True

    def read(self, known: Mapping[str, TaskState]) -> dict[str, TaskState] | None:
        stamps = {name: self._files(name).stamp() for name in self._names()}
        before = self._stamps or {}
        if stamps == self._stamps:
            return None
        tasks = {}
        for name, stamp in stamps.items():
            if before.get(name) == stamp and name in known:
                tasks[name] = known[name]
                continue
            state = self._files(name).read(known.get(name))
            if state is not None:
                tasks[name] = state
        self._stamps = stamps
        return tasks

    def create(
        self,
        name: str,
        kind: TaskKind,
        labels: list[str] | None,
        description: str | None,
        ready_made: bool,
    ) -> bool:
        files = self._files(name)
        try:
            known = files.fields()
        except DamagedTask:
            raise Conflict(f"task {name!r} is damaged on disk; delete it first") from None
        if known is not None:
            fields = known.agreed(name, kind, labels, description)
            if fields != known:
                self._write_task(name, fields)
            return False
        (files.folder / VERSIONS).mkdir(parents=True, exist_ok=True)
        fields = TaskFields(kind, tuple(labels or ()), description, ready_made, time.time())
        self._write_task(name, fields)
        sync_folder(self._root)
        return True

    def delete(self, name: str) -> None:
        grave = self._root / f".deleted-{uuid.uuid4().hex}"
        try:
            (self._root / name).rename(grave)
        except FileNotFoundError:
            raise no_task(name) from None
        sync_folder(self._root)
        shutil.rmtree(grave, ignore_errors=True)

    def add_version(
        self,
        name: str,
        write: WriteFiles,
        labels: tuple[str, ...],
        *,
        mark: str | None = None,
        activate: bool = False,
    ) -> int:
        files = self._files(name)
        versions = files.folder / VERSIONS
        temporary = versions / f".new-{uuid.uuid4().hex}"
        temporary.mkdir()
        try:
            write(temporary)
            number = files.next_number()
            while files.grave(number).exists() or not _rename_into(
                temporary, files.version(number)
            ):
                number += 1  # another process was faster
            sync_folder(versions)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fields = files.fields()
        if fields is not None and not fields.labels:
            self._write_task(name, replace(fields, labels=labels))
        if activate:
            self.point(name, "active", number)
        if mark is not None:
            self.mark(name, mark)
        return number

    def point(self, name: str, pointer: Pointer, version: int | None) -> None:
        files = self._files(name)
        path = files.folder / POINTERS[pointer]
        if version is None:
            path.unlink(missing_ok=True)
            return
        _write_json(path, {"version": version, "at": time.time()})
        if pointer == "active":
            self._end_shadow(files, version)

    def delete_version(self, name: str, version: int) -> None:
        files = self._files(name)
        if files.pointer(POINTER) == version:
            raise version_active(name, version)
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
        self._end_shadow(files, version)

    def configure(self, name: str, version: int, settings: VersionSettings) -> None:
        files = self._files(name)
        (files.folder / SETTINGS).mkdir(exist_ok=True)
        _write_json(files.settings(version), settings.model_dump())

    def version_folder(self, name: str, version: int, files: Sequence[str]) -> Path:
        return self._files(name).version(version)

    @contextlib.contextmanager
    def installing(self) -> Iterator[None]:
        self._marks.parent.mkdir(parents=True, exist_ok=True)
        with self._marks.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # processes that share the folder start together
            yield

    def marks(self) -> dict[str, str]:
        try:
            value = json.loads(self._marks.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            logger.error("%s is damaged: shipped heads are installed anew", self._marks.name)
            return {}
        return value

    def mark(self, name: str, digest: str) -> None:
        marks = self.marks() | {name: digest}
        replace_file(self._marks, json.dumps(marks, indent=1).encode())

    def _end_shadow(self, files: TaskFiles, version: int) -> None:
        if files.pointer(SHADOW) == version:
            (files.folder / SHADOW).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        with os.scandir(self._root) as entries:
            return sorted(e.name for e in entries if NAME.fullmatch(e.name) and e.is_dir())

    def _files(self, name: str) -> TaskFiles:
        return TaskFiles(self._root / name)

    def _write_task(self, name: str, fields: TaskFields) -> None:
        _write_json(self._root / name / TASK_FILE, asdict(fields))


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
