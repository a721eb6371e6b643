"""Backfill: heads applied to all stored codes, as lines of JSON or as a Parquet file.

No text, no encoder pass, and one product of matrices for all the asked tasks. The lines:

    {"key": HEX, "predictions": {TASK: {...}}}      one a stored code, as in /v1/predict
    {"object": "backfill.done", "texts": N, ...}    the last line, if all went well
    {"error": {...}}                                the last line, if not

The Parquet file is that of `app.tasks.backfill_table`; if not all went well it is cut off.

A code that is there all the while comes at least once; one may come twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Protocol

import orjson

from app.cache.code_cache import CacheGone, CodeCache
from app.errors import ApiError, CacheUnavailable, Conflict, InvalidField, Overloaded
from app.schemas import BackfillRequest
from app.tasks.plans import Plan, plan_with
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from models.encoder import EncoderInfo

# Codes answered in a row: between two, requests that wait for the interpreter have their turn.
ROWS = 256
AT_ONCE = 2  # backfills of one process

Format = Literal["ndjson", "parquet"]


class Writer(Protocol):
    """Turns codes into what is sent."""

    def rows(self, rows: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Answers to some codes by digest."""
        ...

    def end(self, texts: int, seconds: float) -> bytes:
        """What says that all is there."""
        ...

    def broken(self, error: ApiError) -> bytes:
        """What says that it is not, and why."""
        ...


@dataclass
class Backfills:
    """Runs backfills, a few at a time."""

    cache: CodeCache
    registry: Registry
    predictions: PredictionService
    _running: int = 0

    async def start(
        self, task: str, request: BackfillRequest, form: Format
    ) -> AsyncIterator[bytes]:
        """The pieces of a backfill; all that can be refused is refused before the first.

        Raises:
            NotFound, Conflict: a task or version is not there, or reads another encoder's codes.
            Conflict: Parquet is asked for where pyarrow is not installed.
            InvalidField: too many tasks, or two whose columns would have one name.
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
        writer = _writer(form, plan, info.fingerprint, request.scores)
        if not await self.cache.ping():
            raise CacheUnavailable("the server that holds codes does not answer", retry_after=2)
        return self._pieces(plan, info, writer)

    def _plan(self, task: str, version: int | None, others: list[str], info: EncoderInfo) -> Plan:
        if version is None:
            self.registry.refresh()
            state = self.registry.snapshot.get(task)
        else:
            head = self.registry.head(task, version)
            state = replace(self.registry.snapshot.get(task), active=version, head=head)
        return plan_with(self.registry.snapshot, state, others, info.fingerprint, info.bits)

    async def _pieces(self, plan: Plan, info: EncoderInfo, writer: Writer) -> AsyncIterator[bytes]:
        self._running += 1
        started, texts = time.perf_counter(), 0
        try:
            async for page in self.cache.stored(info.fingerprint, info.code_bytes):
                rows = iter(page.items())
                while some := list(islice(rows, ROWS)):
                    if piece := await asyncio.to_thread(writer.rows, some):
                        yield piece
                    self.predictions.count(plan, len(some), 0)
                    texts += len(some)
            yield await asyncio.to_thread(writer.end, texts, time.perf_counter() - started)
        except CacheGone as error:
            # The status is sent: all that is left is to say so in place of the end.
            yield writer.broken(CacheUnavailable(f"after {texts} texts: {error}"))
        finally:
            self._running -= 1


@dataclass(frozen=True)
class LineWriter:
    """Lines of JSON."""

    plan: Plan
    encoder: str
    scores: bool

    def rows(self, rows: Sequence[tuple[bytes, bytes]]) -> bytes:
        answers = self.plan.written([code for _, code in rows], self.scores)
        return b"".join(
            _line({"key": digest.hex(), "predictions": answer})
            for (digest, _), answer in zip(rows, answers, strict=True)
        )

    def end(self, texts: int, seconds: float) -> bytes:
        return _line(
            {
                "object": "backfill.done",
                "encoder": self.encoder,
                "texts": texts,
                "encoded": 0,
                "seconds": round(seconds, 3),
            }
        )

    def broken(self, error: ApiError) -> bytes:
        return _line({"error": error.body()})


def _line(record: dict[str, Any]) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _writer(form: Format, plan: Plan, encoder: str, scores: bool) -> Writer:
    if form == "ndjson":
        return LineWriter(plan, encoder, scores)
    try:
        from app.tasks.backfill_table import TableWriter
    except ImportError:
        raise Conflict(
            "this service writes no Parquet: pyarrow is not installed (the extra `archive`); "
            "lines of JSON it does",
            code="parquet_unavailable",
        ) from None
    try:
        return TableWriter(plan, encoder, scores)
    except ValueError as error:
        raise InvalidField(str(error), param="tasks") from None
