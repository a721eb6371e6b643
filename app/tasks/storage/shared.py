"""Tasks in an object store that processes of many machines share, with a copy on the local disk.

`index` says how it is laid out, `revisions` how it is changed. The copy holds the newest revision
that was read and the files of versions that were needed, so that a process goes on, and starts,
while the store does not answer; only changes need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from app.errors import StorageUnavailable
from app.files import replace_file
from app.schemas import VersionSettings
from app.tasks.state import TaskState, known_heads
from app.tasks.storage import index as changes
from app.tasks.storage.bucket import Bucket
from app.tasks.storage.files import VersionFiles
from app.tasks.storage.index import (
    Index,
    IndexDamaged,
    Revision,
    TaskRecord,
    VersionRecord,
    revision_of_bytes,
)
from app.tasks.storage.port import Pointer, RegistryUnusable, WriteFiles
from app.tasks.storage.revisions import Revisions
from models.artifact import MANIFEST, ArtifactError, read_manifest
from models.head_artifact import WEIGHTS, HeadManifest, load_head
from models.head_runtime import Head, TaskKind

logger = logging.getLogger(__name__)

RETRY_S = 2.0  # a store that failed is not looked at before
REVISION = "revision.json"


class SharedStorage:
    """Tasks under an fsspec URL, as `app.tasks.storage.port.Storage` has it.

    Args:
        url: such as `s3://bucket/prefix`.
        copies: a local folder; what belongs to another URL lies apart in it.

    Raises:
        RegistryUnusable: neither the store nor a copy of it can be read.
    """

    def __init__(self, url: str, copies: Path) -> None:
        bucket = Bucket(url)
        folder = copies / hashlib.sha256(url.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self._files = VersionFiles(bucket, folder / "versions")
        self._copy = folder / REVISION
        self._lock = threading.RLock()
        self._failed_at: float | None = None
        self._built: Revision | None = None
        self._revisions = Revisions(bucket)
        self._start()

    def _start(self) -> None:
        try:
            self._revisions.look()
        except StorageUnavailable:
            copy = self._read_copy()
            if copy is None:
                raise RegistryUnusable(
                    "the registry's storage cannot be used, and there is no local copy"
                ) from None
            logger.error("starting with the local copy of the registry, of %.0f", copy.at)
            self._revisions.known = copy
            self._failed_at = time.monotonic()

    @property
    def is_up(self) -> bool:
        return self._failed_at is None

    def read(self, known: Mapping[str, TaskState]) -> dict[str, TaskState] | None:
        with self._lock:
            if self._may_look():
                try:
                    self._revisions.look()
                    self._failed_at = None
                except StorageUnavailable:
                    self._failed_at = time.monotonic()
            revision, before = self._revisions.known, self._built
            if before is not None and before.number == revision.number:
                return None
            try:
                tasks = self._build(revision.index, before.index if before else Index(), known)
            except StorageUnavailable:
                if before is None:
                    raise
                self._failed_at = time.monotonic()
                return None
            self._built = revision
            replace_file(self._copy, revision.to_bytes())
            if before is not None:
                self._files.forget(before.index.ids().keys() - revision.index.ids().keys())
            return tasks

    def create(
        self,
        name: str,
        kind: TaskKind,
        labels: list[str] | None,
        description: str | None,
        ready_made: bool,
    ) -> bool:
        created = False
        now = time.time()

        def change(index: Index) -> Index:
            nonlocal created
            created = name not in index.tasks
            return changes.create(index, name, kind, labels, description, ready_made, now)

        self._commit(change)
        return created

    def delete(self, name: str) -> None:
        with self._removing():
            self._commit(lambda index: changes.delete(index, name))

    def add_version(
        self,
        name: str,
        write: WriteFiles,
        labels: tuple[str, ...],
        *,
        mark: str | None = None,
        activate: bool = False,
    ) -> int | None:
        record = self._files.store(write)
        try:
            index = self._commit(
                lambda index: changes.add_version(index, name, record, labels, mark, activate)
            )
        except StorageUnavailable:
            raise  # the change may have been made all the same: the files stay
        except Exception:
            self._files.remove([record])
            raise
        if index is None:
            self._files.remove([record])
            return None
        return next(n for n, v in index.task(name).versions.items() if v.id == record.id)

    def point(self, name: str, pointer: Pointer, version: int | None) -> None:
        self._commit(lambda index: changes.point(index, name, pointer, version))

    def delete_version(self, name: str, version: int) -> None:
        with self._removing():
            self._commit(lambda index: changes.delete_version(index, name, version))

    def configure(self, name: str, version: int, settings: VersionSettings) -> None:
        self._commit(lambda index: changes.configure(index, name, version, settings))

    def version_folder(self, name: str, version: int, files: Sequence[str]) -> Path:
        record = self._revisions.known.index.version(name, version)
        self._files.fetch([(record, file) for file in files])
        return self._files.folder(record)

    def installing(self) -> contextlib.AbstractContextManager[None]:
        # Nothing is held: two that install at once are told apart by the mark.
        return contextlib.nullcontext()

    def marks(self) -> dict[str, str]:
        return dict(self._revisions.known.index.marks)

    def mark(self, name: str, digest: str) -> None:
        self._commit(lambda index: changes.with_mark(index, name, digest))

    def _commit(self, change: Callable[[Index], Index]) -> Index | None:
        with self._lock:
            if not self._may_look():
                raise StorageUnavailable("the registry's storage did not answer", retry_after=5)
            index = self._revisions.commit(change)
            self._failed_at = None
            return index

    @contextlib.contextmanager
    def _removing(self) -> Iterator[None]:
        """Around a change that removes versions: their files go after it."""
        with self._lock:
            self._revisions.look()
            before = self._revisions.known.index.ids()
            yield
            after = self._revisions.known.index.ids()
        self._files.remove([before[gone] for gone in before.keys() - after.keys()])

    def _may_look(self) -> bool:
        return self._failed_at is None or time.monotonic() - self._failed_at > RETRY_S

    def _read_copy(self) -> Revision | None:
        try:
            return revision_of_bytes(self._copy.read_bytes())
        except (FileNotFoundError, IndexDamaged):
            return None

    def _build(
        self, index: Index, before: Index, known: Mapping[str, TaskState]
    ) -> dict[str, TaskState]:
        """All tasks of an index, anew where they changed."""
        changed = {
            name: task
            for name, task in index.tasks.items()
            if name not in known or before.tasks.get(name) != task
        }
        self._files.fetch(_needed(changed.values(), set(before.ids())))
        tasks = {}
        for name, task in index.tasks.items():
            if name in changed:
                tasks[name] = self._state(name, task, before.tasks.get(name), known.get(name))
            else:
                tasks[name] = known[name]
        return tasks

    def _state(
        self, name: str, task: TaskRecord, before: TaskRecord | None, known: TaskState | None
    ) -> TaskState:
        manifests: dict[int, HeadManifest] = {}
        heads: dict[int | None, Head] = {}
        loaded = known_heads(known)
        for number, record in task.versions.items():
            same = before is not None and before.versions.get(number)
            if known is not None and same and same.id == record.id and number in known.versions:
                manifests[number] = known.versions[number]
                if number in loaded:
                    heads[number] = loaded[number]
            with _damage_logged(name, number):
                if number not in manifests:
                    folder = self._files.folder(record)
                    manifests[number] = HeadManifest.from_json(read_manifest(folder))
                if number in (task.active, task.shadow) and number not in heads:
                    heads[number] = load_head(self._files.folder(record))[1]
        settings = {
            number: record.settings
            for number, record in task.versions.items()
            if record.settings is not None
        }
        return TaskState(
            name=name,
            kind=task.kind,
            labels=task.labels,
            description=task.description,
            ready_made=task.ready_made,
            created_at=task.created_at,
            versions=MappingProxyType(manifests),
            active=task.active if task.active in heads else None,
            head=heads.get(task.active),
            settings=MappingProxyType(settings),
            shadow=task.shadow if task.shadow in heads else None,
            shadow_head=heads.get(task.shadow),
        )


def _needed(tasks: Iterable[TaskRecord], known: set[str]) -> list[tuple[VersionRecord, str]]:
    """The files that must be here: manifests of new versions, weights of those that answer."""
    needed = []
    for task in tasks:
        for number, record in task.versions.items():
            pointed = number in (task.active, task.shadow)
            if pointed or record.id not in known:
                needed.append((record, MANIFEST))
            if pointed:
                needed.append((record, WEIGHTS))
    return needed


@contextlib.contextmanager
def _damage_logged(name: str, number: int) -> Iterator[None]:
    try:
        yield
    except ArtifactError as error:
        logger.error("version %d of task %s is damaged and left out: %s", number, name, error)
