"""The registry of tasks: what is stored, as snapshots, wherever it is kept.

`app.tasks.storage` keeps it: in a folder, or in an object store that processes of many machines
share. Each process looks there twice a second and swaps in a new `Snapshot` when anything changed.
All methods block; the service calls them in threads.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from app.errors import Conflict, InvalidField
from app.schemas import TASK_NAME, VersionSettings
from app.tasks.state import Snapshot, TaskState, no_task
from app.tasks.storage.port import Pointer, Storage
from app.tasks.task_files import NAME
from models.artifact import MANIFEST, ArtifactError
from models.example_rows import EXAMPLES, ExampleRows, load_rows, save_rows
from models.head_artifact import WEIGHTS, HeadManifest, load_head, save_head
from models.head_runtime import Head, TaskKind
from models.reference import REFERENCE, Reference, load_reference, save_reference


class Registry:
    """Tasks and their head versions in `storage`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self.snapshot = Snapshot(MappingProxyType({}))
        self.refresh()

    @property
    def is_up(self) -> bool:
        """Whether the storage answered when it was last looked at."""
        return self._storage.is_up

    def refresh(self) -> bool:
        """Look at the storage; swap in a new snapshot if anything changed. Returns whether."""
        with self._lock:
            tasks = self._storage.read(self.snapshot.tasks)
            if tasks is None:
                return False
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
        created = self._storage.create(name, kind, labels, description, ready_made)
        self.refresh()
        return created

    def delete(self, name: str) -> None:
        """Remove a task with all versions.

        Raises:
            NotFound: there is none.
        """
        if not NAME.fullmatch(name):
            raise no_task(name)
        self._storage.delete(name)
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
        number = self._add(name, manifest, head, rows, reference, None, activate=False)
        assert number is not None
        return number

    def install(
        self,
        name: str,
        manifest: HeadManifest,
        head: Head,
        reference: Reference | None,
        mark: str,
        *,
        activate: bool,
    ) -> int | None:
        """Add a shipped head, and remember that; None if another process has done so.

        Raises:
            NotFound: the task is gone.
        """
        return self._add(name, manifest, head, None, reference, mark, activate=activate)

    def _add(
        self,
        name: str,
        manifest: HeadManifest,
        head: Head,
        rows: ExampleRows | None,
        reference: Reference | None,
        mark: str | None,
        *,
        activate: bool,
    ) -> int | None:
        def write(folder: Path) -> None:
            if rows is not None:
                save_rows(folder, rows)
            if reference is not None:
                save_reference(folder, reference)
            save_head(folder, manifest, head)

        self._reread(name)
        number = self._storage.add_version(
            name, write, manifest.labels, mark=mark, activate=activate
        )
        self.refresh()
        return number

    def activate(self, name: str, version: int) -> None:
        """Point the task at a version. If it was the shadow, it no longer is.

        Raises:
            NotFound: no such task or version.
            Conflict: the version's files are damaged.
        """
        self._point(name, "active", version)

    def set_shadow(self, name: str, version: int | None) -> None:
        """Let a version answer beside the active one, unseen; None: no longer any.

        Raises:
            NotFound: no such task or version.
            Conflict: the version's files are damaged.
        """
        self._point(name, "shadow", version)

    def delete_version(self, name: str, version: int) -> None:
        """Remove a version and all that was stored with it; its number is not given again.

        Raises:
            NotFound: no such task or version.
            Conflict: it is the active one.
        """
        self.version(name, version)
        self._storage.delete_version(name, version)
        self.refresh()

    def _point(self, name: str, pointer: Pointer, version: int | None) -> None:
        if version is None:
            self._reread(name)
        else:
            self.head(name, version)
        self._storage.point(name, pointer, version)
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
            return load_head(self._storage.version_folder(name, version, (MANIFEST, WEIGHTS)))[1]
        except ArtifactError as error:
            raise Conflict(f"version {version} of {name!r} cannot be used: {error}") from error

    def rows(self, name: str, version: int) -> ExampleRows | None:
        """The rows that a version was made from; None for one that was stored without.

        Raises:
            NotFound: no such task or version.
            Conflict: the file is damaged.
        """
        manifest = self.version(name, version)
        folder = self._storage.version_folder(name, version, (EXAMPLES,))
        try:
            rows = load_rows(folder, manifest.bits)
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
        folder = self._storage.version_folder(name, version, (REFERENCE,))
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
        self._storage.configure(name, version, settings)
        self.refresh()

    def installing(self) -> AbstractContextManager[None]:
        """Held while shipped heads are installed."""
        return self._storage.installing()

    def marks(self) -> dict[str, str]:
        """What shipped heads were installed: a digest by task."""
        return self._storage.marks()

    def mark(self, name: str, digest: str) -> None:
        """Remember a shipped head as installed without installing it."""
        self._storage.mark(name, digest)

    def _reread(self, name: str) -> TaskState:
        self.refresh()
        return self.snapshot.get(name)
