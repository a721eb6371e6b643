"""Backfill: heads applied to all stored codes, as lines of JSON. No text, no encoder pass.

    {"key": HEX, "predictions": {TASK: {...}}}      one a stored code, as in /v1/predict
    {"object": "backfill.done", "texts": N, ...}    the last line, if all went well
    {"error": {...}}                                the last line, if not

A code that is there all the while comes at least once; one may come twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import islice

import orjson

from app.cache.code_cache import CacheGone, CodeCache
from app.errors import ApiError, CacheUnavailable, InvalidField, Overloaded
from app.schemas import BackfillRequest
from app.tasks.plans import Plan, plan_with
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from models.encoder import EncoderInfo

# Codes answered in a row: between two, requests that wait for the interpreter have their turn.
ROWS = 256
AT_ONCE = 2  # backfills of one process


@dataclass
class Backfills:
    """Runs backfills, a few at a time."""

    cache: CodeCache
    registry: Registry
    predictions: PredictionService
    _running: int = 0

    async def start(self, task: str, request: BackfillRequest) -> AsyncIterator[bytes]:
        """The lines of a backfill; all that can be refused is refused before the first.

        Raises:
            NotFound, Conflict: a task or version is not there, or reads another encoder's codes.
            InvalidField: too many tasks.
            Overloaded: others are under way.
            CacheUnavailable: the server that holds codes does not answer.
        """
        if self._running >= AT_ONCE:
            raise Overloaded(f"{self._running} backfills are under way", retry_after=30)
        others = request.tasks or []
        if len(others) >= self.predictions.max_tasks:
            raise InvalidField(
                f"tasks: {len(others)} are over the limit of {self.predictions.max_tasks}",
                param="tasks",
            )
        info = await self.predictions.encoder.info()
        plan = await asyncio.to_thread(self._plan, task, request.version, others, info)
        if not await self.cache.ping():
            raise CacheUnavailable("the server that holds codes does not answer", retry_after=2)
        return self._lines(plan, info, request.scores)

    def _plan(self, task: str, version: int | None, others: list[str], info: EncoderInfo) -> Plan:
        if version is None:
            self.registry.refresh()
            state = self.registry.snapshot.get(task)
        else:
            head = self.registry.head(task, version)
            state = replace(self.registry.snapshot.get(task), active=version, head=head)
        return plan_with(self.registry.snapshot, state, others, info.fingerprint, info.bits)

    async def _lines(self, plan: Plan, info: EncoderInfo, scores: bool) -> AsyncIterator[bytes]:
        self._running += 1
        started, texts = time.perf_counter(), 0
        try:
            async for page in self.cache.stored(info.fingerprint, info.code_bytes):
                rows = iter(page.items())
                while some := list(islice(rows, ROWS)):
                    yield await asyncio.to_thread(_written, plan, some, scores)
                    self.predictions.count(plan, len(some), 0)
                    texts += len(some)
            done = {
                "object": "backfill.done",
                "encoder": info.fingerprint,
                "texts": texts,
                "encoded": 0,
                "seconds": round(time.perf_counter() - started, 3),
            }
            yield orjson.dumps(done, option=orjson.OPT_APPEND_NEWLINE)
        except CacheGone as error:
            # The status is sent: all that is left is to say so in place of the last line.
            yield _error_line(CacheUnavailable(f"after {texts} texts: {error}"))
        finally:
            self._running -= 1


def _written(plan: Plan, rows: list[tuple[bytes, bytes]], scores: bool) -> bytes:
    answers = plan.written([code for _, code in rows], scores)
    return b"".join(
        orjson.dumps({"key": digest.hex(), "predictions": answer}, option=orjson.OPT_APPEND_NEWLINE)
        for (digest, _), answer in zip(rows, answers, strict=True)
    )


def _error_line(error: ApiError) -> bytes:
    return orjson.dumps({"error": error.body()}, option=orjson.OPT_APPEND_NEWLINE)
