"""Rows of a version whose labels look wrong, worked out when somebody asks."""

from __future__ import annotations

import asyncio
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from app.errors import Conflict, Overloaded
from app.schemas import Suspect, SuspectNeighbour, Suspects
from app.tasks.registry import Registry
from app.tasks.trainer import Trainer
from models.example_rows import PARTS, ExampleRows
from models.head_artifact import HeadManifest
from models.training.suspects import Suspicion, most_suspicious

MAX_WAITING = 2
MAX_SHOWN = 10_000
KEEP = 4


class Suspicions:
    """Looks for suspects in the training worker; versions never change, so results are kept."""

    def __init__(self, registry: Registry, trainer: Trainer) -> None:
        self._registry = registry
        self._trainer = trainer
        self._kept: dict[tuple[str, float, int], Suspicion] = {}
        self._waiting = 0

    async def of(self, task: str, version: int, limit: int, neighbours: int) -> Suspects:
        """The most suspicious rows of one version.

        Args:
            task: its name; a task with one label a text.
            version: of the task.
            limit: rows, at most.
            neighbours: shown of each, at most.

        Raises:
            NotFound: no such task or version.
            Conflict: it was stored without rows, or a text may have several labels or a number.
            Overloaded: others wait for theirs.
        """
        manifest, rows = await asyncio.to_thread(self._load, task, version)
        # A task that was deleted and made again counts its versions anew.
        key = (task, self._registry.snapshot.get(task).created_at, version)
        found = self._kept.get(key)
        if found is None:
            found = await self._find(rows, len(manifest.labels))
            if len(self._kept) >= KEEP:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = found
        data = [
            _suspect(found, place, manifest, rows, neighbours)
            for place in range(min(limit, len(found.rows)))
        ]
        return Suspects(task=task, version=version, rows=len(rows), data=data)

    async def _find(self, rows: ExampleRows, outputs: int) -> Suspicion:
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} versions are looked at", retry_after=5)
        self._waiting += 1
        try:
            work = partial(most_suspicious, rows.codes, rows.targets, outputs, MAX_SHOWN)
            return await self._trainer.in_worker(work)
        except BrokenProcessPool:
            raise Overloaded("the training worker died (out of memory?)", retry_after=5) from None
        finally:
            self._waiting -= 1

    def _load(self, task: str, version: int) -> tuple[HeadManifest, ExampleRows]:
        manifest = self._registry.version(task, version)
        if manifest.kind != "single_label":
            raise Conflict(
                f"task {task!r} is {manifest.kind}: only labels of which a text has one are judged",
                param="task",
                code="kind_not_usable",
            )
        rows = self._registry.rows(task, version)
        if rows is None or len(rows) < 2:
            raise Conflict(
                f"version {version} of {task!r} has no stored rows",
                param="version",
                code="no_stored_rows",
            )
        return manifest, rows


def _suspect(
    found: Suspicion, place: int, manifest: HeadManifest, rows: ExampleRows, neighbours: int
) -> Suspect:
    row = int(found.rows[place])
    near = zip(
        found.neighbours[place][:neighbours].tolist(),
        found.distances[place][:neighbours].tolist(),
        strict=True,
    )
    return Suspect(
        version=int(rows.version[row]),
        part=PARTS[rows.part[row]],
        row=int(rows.row[row]),
        label=manifest.labels[int(rows.targets[row])],
        suggested=manifest.labels[int(found.suggested[place])],
        suspicion=round(float(found.suspicion[place]), 6),
        probability=round(float(found.probability[place]), 6),
        agreeing=int(found.agreeing[place]),
        neighbours=[
            SuspectNeighbour(
                version=int(rows.version[other]),
                part=PARTS[rows.part[other]],
                row=int(rows.row[other]),
                label=manifest.labels[int(rows.targets[other])],
                distance=bits,
            )
            for other, bits in near
        ],
    )
