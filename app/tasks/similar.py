"""Similar texts: the stored codes, or the labelled rows of a version, nearest to some codes.

A stored code is looked up once more before it is answered: what was deleted, expired or evicted
since the codes were read is left out, and so is the code that is asked about itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.cache.code_cache import CacheGone, CodeCache
from app.call import Call
from app.errors import BadRequest, CacheUnavailable, Conflict, InvalidField, Overloaded
from app.schemas import SimilarRequest
from app.tasks.code_index import CodeIndex, Table
from app.tasks.lookup import Looked, Lookup
from app.tasks.plans import Plan, plan_for
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from models.codes import Codes, stack_codes
from models.encoder import EncoderInfo
from models.example_rows import PARTS, ExampleRows
from models.head_artifact import HeadManifest
from models.neighbours import Nearest, merge, nearest

MAX_INPUTS = 256
MAX_NEIGHBOURS = 10_000  # of all inputs together
QUERIES = 16  # searched in a row
SPARE = 16  # candidates more than asked for: itself, gone ones, ones that were read twice
MAX_WAITING = 8  # searches; one runs at a time


@dataclass
class SimilarTexts:
    """Answers `/v1/similar`."""

    cache: CodeCache
    index: CodeIndex
    lookup: Lookup
    predictions: PredictionService
    registry: Registry
    _waiting: int = 0
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def answer(self, request: SimilarRequest, call: Call) -> dict[str, Any]:
        """The answer to a request, ready for JSON.

        Raises:
            BadRequest, InvalidField, TooLarge: of the request.
            NotFound: no such task or version, or a key that is not stored.
            Conflict: a version of another encoder, or stored without its rows; a task that cannot
                answer.
            Overloaded: too many searches wait.
            CacheUnavailable: the server does not answer, or codes are being read still.
        """
        _check(request)
        info = await self.lookup.info()
        rows = plan = None
        if request.task is not None:  # first: it must not cost an encoder pass
            rows = await asyncio.to_thread(self._rows, request.task, request.version, info)
        if request.tasks is not None:
            plan = self._plan(request.tasks, info)
        looked = await self._look_up(request, call)
        if looked.info.fingerprint != info.fingerprint:
            raise Conflict("the encoder changed in the middle; ask again")
        searched: dict[str, Any]
        if rows is not None:
            async with self._one_at_a_time():
                found = await call.guarded(_among_rows(*rows, looked, request))
            searched = {"codes": len(rows[1]), "complete": True, "age_s": None}
        else:
            new = zip(looked.digests, looked.codes, looked.cached, strict=True)
            self.index.add(info.fingerprint, ((key, one.code) for key, one, hit in new if not hit))
            table = await call.guarded(self.index.current(info, request.max_age_s))
            async with self._one_at_a_time():
                found = await call.guarded(self._among_codes(table, looked, request, plan))
            age_s = round(time.monotonic() - table.started, 3)
            searched = {"codes": len(table), "complete": table.complete, "age_s": age_s}
        return {
            "object": "list",
            "encoder": info.fingerprint,
            "bits": info.bits,
            "data": [
                {"index": index, "key": digest.hex(), "neighbours": neighbours}
                for index, (digest, neighbours) in enumerate(
                    zip(looked.digests, found, strict=True)
                )
            ],
            "searched": searched,
            "usage": looked.usage(),
        }

    async def _look_up(self, request: SimilarRequest, call: Call) -> Looked:
        if request.keys is not None:
            return await self.lookup.keys(request.keys, call)
        assert request.inputs is not None
        return await self.lookup.texts(request.inputs, call)

    def _plan(self, tasks: list[str], info: EncoderInfo) -> Plan:
        most = self.predictions.max_tasks
        if len(tasks) > most:
            raise InvalidField(f"tasks: {len(tasks)} are over the limit of {most}", param="tasks")
        return plan_for(self.registry.snapshot, tasks, info.fingerprint, info.bits)

    def _rows(
        self, task: str, version: int | None, info: EncoderInfo
    ) -> tuple[HeadManifest, ExampleRows]:
        if version is None:
            self.registry.refresh()
            version = self.registry.snapshot.get(task).active
            if version is None:
                raise Conflict(f"task {task!r} has no active version", param="task")
        manifest = self.registry.version(task, version)
        if info.fingerprint not in manifest.encoders or manifest.bits != info.bits:
            raise Conflict(
                f"version {version} of {task!r} is for another encoder than {info.fingerprint}",
                param="version",
                code="head_not_usable",
            )
        rows = self.registry.rows(task, version)
        if rows is None:
            raise Conflict(
                f"version {version} of {task!r} has no stored rows",
                param="version",
                code="no_stored_rows",
            )
        return manifest, rows

    async def _among_codes(
        self, table: Table, looked: Looked, request: SimilarRequest, plan: Plan | None
    ) -> list[list[dict[str, Any]]]:
        queries = stack_codes([stored.code for stored in looked.codes])
        near = await _search(queries, [c.codes for c in table.chunks], request.limit + SPARE)
        sets = [chunk.digests for chunk in table.chunks]
        starts = _starts([len(digests) for digests in sets])
        candidates: list[dict[bytes, int]] = []  # of each input: digests with distances
        for digest, distances, places in zip(looked.digests, *near, strict=True):
            within = distances <= _most(request)
            number = np.searchsorted(starts, places[within], side="right") - 1
            names = [
                sets[one][place - starts[one]].tobytes()
                for one, place in zip(number.tolist(), places[within].tolist(), strict=True)
            ]
            found = dict(zip(names, distances[within].tolist(), strict=True))
            found.pop(digest, None)
            candidates.append(found)
        kept = await self._kept(looked.info, {name for found in candidates for name in found})
        chosen = [
            [(name, bits) for name, bits in found.items() if name in kept][: request.limit]
            for found in candidates
        ]
        answers: dict[bytes, dict[str, Any]] = {}
        if plan is not None:
            shown = list({name: None for found in chosen for name, _ in found})
            codes = [kept[name] for name in shown]
            predicted = await asyncio.to_thread(plan.predict, codes, False)
            self.predictions.count(plan, len(shown), 0)
            answers = dict(zip(shown, predicted, strict=True))
        return [
            [
                {"key": name.hex(), **_apart(bits, looked.info)}
                | ({"predictions": answers[name]} if plan is not None else {})
                for name, bits in found
            ]
            for found in chosen
        ]

    async def _kept(self, info: EncoderInfo, digests: set[bytes]) -> dict[bytes, bytes]:
        """Codes of those digests that are stored still."""
        names = list(digests)
        try:
            found = await self.cache.kept(info.fingerprint, info.code_bytes, names)
        except CacheGone as error:
            raise CacheUnavailable(str(error), retry_after=2) from error
        return {name: stored.code for name, stored in zip(names, found, strict=True) if stored}

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} searches wait", retry_after=2)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1


async def _among_rows(
    manifest: HeadManifest, rows: ExampleRows, looked: Looked, request: SimilarRequest
) -> list[list[dict[str, Any]]]:
    queries = stack_codes([stored.code for stored in looked.codes])
    near = await _search(queries, [rows.codes], request.limit)
    return [
        [
            {
                "version": int(rows.version[place]),
                "part": PARTS[rows.part[place]],
                "row": int(rows.row[place]),
                **_target(manifest, rows, place),
                **_apart(bits, looked.info),
            }
            for bits, place in zip(distances.tolist(), places.tolist(), strict=True)
            if bits <= _most(request)
        ]
        for distances, places in zip(*near, strict=True)
    ]


async def _search(queries: Codes, sets: Sequence[Codes], count: int) -> Nearest:
    """The nearest codes of all sets, in pieces small enough that others have their turn."""
    starts = _starts([len(codes) for codes in sets])
    done = []
    for start in range(0, len(queries), QUERIES):
        some = queries[start : start + QUERIES]
        near = nearest(some, np.zeros((0, some.shape[1]), dtype=np.uint8), count)
        for first, codes in zip(starts, sets, strict=True):
            part = await asyncio.to_thread(nearest, some, codes, count)
            near = merge([near, part], [0, first], count)
        done.append(near)
    return Nearest(*(np.concatenate(parts) for parts in zip(*done, strict=True)))


def _starts(sizes: Sequence[int]) -> list[int]:
    """The number of the first code of each set, counted over all."""
    return [0, *np.cumsum(sizes[:-1], dtype=np.int64).tolist()] if sizes else []


def _most(request: SimilarRequest) -> float:
    return float("inf") if request.max_distance is None else request.max_distance


def _apart(bits: int, info: EncoderInfo) -> dict[str, Any]:
    return {"distance": bits, "share": round(bits / info.bits, 6)}


def _target(manifest: HeadManifest, rows: ExampleRows, place: int) -> dict[str, Any]:
    target = rows.targets[place]
    if manifest.kind == "regression":
        return {"value": float(target)}
    if manifest.kind == "single_label":
        return {"label": manifest.labels[int(target)]}
    return {"labels": [manifest.labels[one] for one in np.flatnonzero(target).tolist()]}


def _check(request: SimilarRequest) -> None:
    if (request.inputs is None) == (request.keys is None):
        raise InvalidField("give either inputs or keys", param="inputs")
    name = "inputs" if request.keys is None else "keys"
    value = request.inputs if request.keys is None else request.keys
    count = 1 if isinstance(value, str) else len(value or ())
    most = min(MAX_INPUTS, MAX_NEIGHBOURS // request.limit)
    if count > most:
        raise InvalidField(
            f"{name}: {count} are over the limit of {most} with {request.limit} neighbours each",
            param=name,
        )
    if request.version is not None and request.task is None:
        raise InvalidField("version needs task", param="version")
    if request.task is not None and request.tasks is not None:
        raise InvalidField(
            "tasks answer about stored codes; rows of a version have labels", param="tasks"
        )
    if request.tasks is not None and not request.tasks:
        raise BadRequest("tasks is empty", param="tasks", code="empty_input")
