"""What a shared registry says: keys of its objects, its index, and the changes to it. Pure.

    revisions/00000000000000000042.json  the whole index as of change 42; the highest rules
    versions/ID/manifest.json            a version's files, under an id that is never used again
    versions/ID/weights.safetensors      (examples.safetensors, reference.safetensors)
    probes/ID                            put twice at the start, to see that the second one fails

The changes are functions from an index to the next one. They return the same index where nothing is
to be changed, and raise what the caller is to be told where the change cannot be made.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from app.schemas import TASK_NAME, VersionSettings
from app.tasks.state import TaskFields, no_task, no_version, version_active
from app.tasks.storage.port import Pointer
from models.head_runtime import TaskKind

REVISIONS = "revisions"
VERSIONS = "versions"
PROBES = "probes"
DIGITS = 20  # so that names sort as numbers do
_REVISION = re.compile(rf"^([0-9]{{{DIGITS}}})\.json$", re.ASCII)

TaskName = Annotated[str, StringConstraints(pattern=TASK_NAME)]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# As `models` names them. Nothing else is ever read or written: an index from anybody leads nowhere.
FileName = Literal[
    "manifest.json", "weights.safetensors", "examples.safetensors", "reference.safetensors"
]
Number = Annotated[int, Field(ge=1)]


class IndexDamaged(ValueError):
    """A revision is no JSON of this format."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionRecord(_Record):
    """A version: where its files are, and the SHA-256 of each."""

    id: Id
    digests: dict[FileName, Digest]
    settings: VersionSettings | None = None


class TaskRecord(_Record):
    """A task with its versions."""

    kind: TaskKind
    labels: tuple[str, ...]
    description: str | None
    ready_made: bool
    created_at: FiniteFloat
    next_number: Number = 1
    active: Number | None = None
    shadow: Number | None = None
    versions: dict[Number, VersionRecord] = {}

    @property
    def fields(self) -> TaskFields:
        return TaskFields(
            self.kind, self.labels, self.description, self.ready_made, self.created_at
        )


class Index(_Record):
    """All tasks, and the shipped heads that were installed (a digest by task)."""

    tasks: dict[TaskName, TaskRecord] = {}
    marks: dict[TaskName, str] = {}

    def task(self, name: str) -> TaskRecord:
        """A task by name.

        Raises:
            NotFound: there is none.
        """
        task = self.tasks.get(name)
        if task is None:
            raise no_task(name)
        return task

    def version(self, name: str, number: int) -> VersionRecord:
        """A version by number.

        Raises:
            NotFound: no such task or version.
        """
        version = self.task(name).versions.get(number)
        if version is None:
            raise no_version(name, number)
        return version

    def with_task(self, name: str, task: TaskRecord) -> Index:
        return self.model_copy(update={"tasks": self.tasks | {name: task}})

    def ids(self) -> dict[str, VersionRecord]:
        """All versions by the ids of their files."""
        return {v.id: v for task in self.tasks.values() for v in task.versions.values()}


class Revision(_Record):
    """The index as of one change; `written` tells who wrote it, should the answer get lost."""

    format: Literal["polyhead.registry/1"] = "polyhead.registry/1"
    number: int = Field(ge=0)
    written: Id
    at: FiniteFloat
    index: Index

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()


NOTHING = Revision(number=0, written="0" * 32, at=0.0, index=Index())


def revision_of_bytes(data: bytes) -> Revision:
    """A revision as `to_bytes` gives it.

    Raises:
        IndexDamaged: it is none, or of a format that this version does not read.
    """
    try:
        return Revision.model_validate_json(data)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise IndexDamaged(f"no revision of a registry that can be read (at {place!r})") from None


def revision_key(number: int) -> str:
    """Where a revision lies."""
    if not 0 < number < 10**DIGITS:
        raise ValueError(f"no number of a revision: {number}")
    return f"{REVISIONS}/{number:0{DIGITS}d}.json"


def revision_number(name: str) -> int | None:
    """The number in the last part of a revision's key; None if it is something else."""
    match = _REVISION.fullmatch(name)
    return int(match[1]) if match else None


def file_key(record: VersionRecord, file: str) -> str:
    """Where a file of a version lies."""
    return f"{VERSIONS}/{record.id}/{file}"


def create(
    index: Index,
    name: str,
    kind: TaskKind,
    labels: list[str] | None,
    description: str | None,
    ready_made: bool,
    now: float,
) -> Index:
    """With a task of that name."""
    known = index.tasks.get(name)
    if known is None:
        task = TaskRecord(
            kind=kind,
            labels=tuple(labels or ()),
            description=description,
            ready_made=ready_made,
            created_at=now,
        )
        return index.with_task(name, task)
    agreed = known.fields.agreed(name, kind, labels, description)
    if agreed == known.fields:
        return index
    update = {"labels": agreed.labels, "description": agreed.description}
    return index.with_task(name, known.model_copy(update=update))


def delete(index: Index, name: str) -> Index:
    """Without that task."""
    index.task(name)
    return index.model_copy(update={"tasks": {n: t for n, t in index.tasks.items() if n != name}})


def add_version(
    index: Index,
    name: str,
    version: VersionRecord,
    labels: tuple[str, ...],
    mark: str | None,
    activate: bool,
) -> Index:
    """With one more version of that task, under its next number."""
    task = index.task(name)
    if mark is not None and index.marks.get(name) == mark:
        return index
    number = task.next_number
    update = {
        "next_number": number + 1,
        "versions": task.versions | {number: version},
        "labels": task.labels or labels,
    }
    changed = index.with_task(name, task.model_copy(update=update))
    if activate:
        changed = point(changed, name, "active", number)
    return changed if mark is None else with_mark(changed, name, mark)


def point(index: Index, name: str, pointer: Pointer, number: int | None) -> Index:
    """With a pointer set to a version, or to none. What becomes active is no shadow any more."""
    task = index.task(name)
    if number is not None:
        index.version(name, number)
    update: dict[str, int | None] = {pointer: number}
    if pointer == "active" and task.shadow == number:
        update["shadow"] = None
    changed = task.model_copy(update=update)
    return index if changed == task else index.with_task(name, changed)


def delete_version(index: Index, name: str, number: int) -> Index:
    """Without a version that is not active."""
    index.version(name, number)
    task = index.task(name)
    if task.active == number:
        raise version_active(name, number)
    update = {
        "versions": {n: v for n, v in task.versions.items() if n != number},
        "shadow": None if task.shadow == number else task.shadow,
    }
    return index.with_task(name, task.model_copy(update=update))


def configure(index: Index, name: str, number: int, settings: VersionSettings) -> Index:
    """With other settings of a version."""
    version = index.version(name, number)
    task = index.task(name)
    changed = version.model_copy(update={"settings": settings})
    versions = task.versions | {number: changed}
    return index.with_task(name, task.model_copy(update={"versions": versions}))


def with_mark(index: Index, name: str, digest: str) -> Index:
    """With a shipped head remembered as installed."""
    return index.model_copy(update={"marks": index.marks | {name: digest}})
