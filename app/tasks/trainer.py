"""Training a head as a job: encode (through the cache, like everyone), fit, evaluate, store.

The numeric part runs in a worker process of its own, so that it neither holds the event loop nor
can take the service down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from app.call import Call
from app.errors import ApiError, Conflict, EncoderUnavailable, InvalidField, Overloaded
from app.schemas import ErrorBody, Job, TrainOptions
from app.tasks.examples import Examples, target_array
from app.tasks.jobs import STAMP_EVERY_S, JobStore
from app.tasks.lookup import Lookup
from app.tasks.registry import Registry
from models.codes import Codes, stack_codes
from models.encoder import EncoderInfo
from models.example_rows import ExampleRows
from models.head_artifact import HeadManifest
from models.head_runtime import TaskKind
from models.training.job import (
    TrainingData,
    TrainingOptions,
    TrainingResult,
    fit_and_evaluate,
)

logger = logging.getLogger(__name__)

CHUNK = 128
CHUNKS_AT_ONCE = 2  # one on the device while the next is tokenized; the rest is for live traffic
PATIENCE_S = 60.0  # how long a job waits for an overloaded or absent encoder
SAVE_EVERY_S = 0.5
# Rows times labels of a training: truth and outputs are tables of so many numbers, a few at a time.
MAX_CELLS = 50_000_000


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What to train. `test` None: hold out a part of `train`, which may be empty over a base."""

    task: str
    kind: TaskKind
    labels: list[str]
    train: Examples
    test: Examples | None
    options: TrainOptions


class Trainer:
    """Runs training jobs, one at a time; others queue up to `max_jobs`."""

    def __init__(
        self,
        registry: Registry,
        jobs: JobStore,
        lookup: Lookup,
        *,
        max_jobs: int,
        max_examples: int,
    ) -> None:
        self._registry = registry
        self._jobs = jobs
        self._lookup = lookup
        self._max_jobs = max_jobs
        self._max_examples = max_examples
        self._running: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._workers: ProcessPoolExecutor | None = None

    async def submit(self, order: TrainingOrder) -> Job:
        """Queue a job.

        Raises:
            Overloaded: too many are queued already.
            InvalidField: too many rows, or too many for so many labels.
            NotFound: there is no such version as the base.
            Conflict: the base has no stored rows.
        """
        self._check_size(order, 0)
        if len(self._running) >= self._max_jobs:
            raise Overloaded(f"{len(self._running)} training jobs are queued", retry_after=10)
        base = await asyncio.to_thread(self._base, order)
        if base is not None:
            self._check_size(order, len(base.rows))
        job = await asyncio.to_thread(self._jobs.create, order.task)
        task = asyncio.create_task(self._run(job, order, base), name=job.id)
        self._running[job.id] = task
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        return job

    async def close(self) -> None:
        """Stop; jobs under way are marked as failed."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._workers:
            for process in list((self._workers._processes or {}).values()):
                process.terminate()
            await asyncio.to_thread(self._workers.shutdown, cancel_futures=True)

    def _check_size(self, order: TrainingOrder, of_base: int) -> None:
        """Refuse what would not fit into memory, counting the rows of a base too."""
        rows = len(order.train) + len(order.test or ()) + of_base
        among = f", {of_base} of them of the base," if of_base else ""
        if rows > self._max_examples:
            raise InvalidField(
                f"examples: {rows}{among} are over the limit of {self._max_examples}",
                param="examples",
            )
        if rows * len(order.labels) > MAX_CELLS:
            raise InvalidField(
                f"examples: {rows}{among} with {len(order.labels)} labels are over the limit of "
                f"{MAX_CELLS} rows times labels",
                param="examples",
            )

    def _base(self, order: TrainingOrder) -> _Base | None:
        version = order.options.base
        if version is None:
            return None
        manifest = self._registry.version(order.task, version)
        rows = self._registry.rows(order.task, version)
        if rows is None:
            raise Conflict(
                f"version {version} was stored without its rows: give all examples",
                param="base",
                code="no_stored_rows",
            )
        if list(manifest.labels) != order.labels:
            raise Conflict(f"version {version} has other labels than the task", param="base")
        return _Base(version, next(iter(manifest.encoders)), rows)

    async def _run(self, job: Job, order: TrainingOrder, base: _Base | None) -> None:
        stamping = asyncio.create_task(self._stamp(job.id))
        try:
            async with self._turn:
                await self._train(job, order, base)
        except asyncio.CancelledError:
            self._fail(job, "the service was stopped", "job_interrupted")
            raise
        except ApiError as error:
            self._fail(job, error.message, error.code, error.type, error.param)
        except BrokenProcessPool:
            self._workers = None
            self._fail(job, "the training worker died (out of memory?)", "worker_died")
        except ValueError as error:
            self._fail(job, str(error), "invalid_examples", "invalid_request_error")
        except Exception:
            logger.exception("training job %s failed", job.id)
            self._fail(job, "internal error", "internal_error")
        finally:
            stamping.cancel()

    async def _train(self, job: Job, order: TrainingOrder, base: _Base | None) -> None:
        job.status, job.stage = "running", "encoding"
        await asyncio.to_thread(self._jobs.save, job)
        started = time.perf_counter()
        encoded = await self._encode(job, order)
        encode_s = time.perf_counter() - started
        if base is not None and base.encoder != encoded.info.fingerprint:
            raise Conflict(
                f"the rows of version {base.version} are codes of encoder {base.encoder}, the "
                f"running encoder is {encoded.info.fingerprint}: give all examples",
                param="base",
            )
        job.stage, job.progress = "fitting", 0.6
        await asyncio.to_thread(self._jobs.save, job)
        test_targets = None
        if order.test is not None:
            test_targets = target_array(order.test, order.kind, order.labels)
        data = TrainingData(
            kind=order.kind,
            labels=order.labels,
            codes=encoded.train,
            targets=target_array(order.train, order.kind, order.labels),
            test_codes=encoded.test,
            test_targets=test_targets,
            base=None if base is None else base.rows,
        )
        options = order.options
        result = await self._fit(
            data,
            TrainingOptions(
                options.head, options.test_fraction, options.seed, options.class_weight
            ),
        )
        report = result.report
        if base is not None:
            report["base"]["version"] = base.version
        report["seconds"] = {"encode": encode_s, "fit": report.pop("fit_seconds")}
        report["usage"] = encoded.usage
        report["options"] = options.model_dump(
            include={"head", "test_fraction", "seed", "class_weight"}
        )
        job.stage, job.progress = "saving", 0.95
        await asyncio.to_thread(self._jobs.save, job)
        job.version = await asyncio.to_thread(self._store, order, encoded.info, result)
        job.report = report
        job.status, job.stage, job.progress = "succeeded", "done", 1.0
        job.finished_at = time.time()
        await asyncio.to_thread(self._jobs.save, job)

    async def _encode(self, job: Job, order: TrainingOrder) -> _Encoded:
        texts = order.train.texts + (order.test.texts if order.test else [])
        if not texts:
            return _Encoded.nothing(await self._lookup.info())
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        collected = _Collected(len(chunks))
        places = iter(range(len(chunks)))
        saved_at = time.monotonic()

        async def work() -> None:
            nonlocal saved_at
            for place in places:
                await self._encode_chunk(chunks[place], collected, place)
                job.progress = round(0.6 * collected.done / len(chunks), 3)
                if time.monotonic() - saved_at > SAVE_EVERY_S:
                    saved_at = time.monotonic()
                    await asyncio.to_thread(self._jobs.save, job)

        async with _first_error_alone(), asyncio.TaskGroup() as group:
            for _ in range(CHUNKS_AT_ONCE):
                group.create_task(work())
        return collected.result(len(order.train), order.test is not None)

    async def _encode_chunk(self, texts: list[str], collected: _Collected, place: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                looked = await self._lookup.texts(texts, Call())
            except (Overloaded, EncoderUnavailable) as error:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(min(2.0, error.retry_after or 1.0))
            else:
                collected.add(place, looked.info, [s.code for s in looked.codes], looked.usage())
                return

    async def _fit(self, data: TrainingData, options: TrainingOptions) -> TrainingResult:
        if self._workers is None:
            self._workers = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, fit_and_evaluate, data, options)

    def _store(self, order: TrainingOrder, info: EncoderInfo, result: TrainingResult) -> int:
        manifest = HeadManifest(
            kind=order.kind,
            head=result.kind,
            labels=tuple(order.labels),
            bits=info.bits,
            encoders={info.fingerprint: {"profile": info.profile}},
            created_at=time.time(),
            report=result.report,
            thresholds=result.thresholds,
        )
        version = self._registry.add_version(order.task, manifest, result.head, result.rows)
        activate = order.options.activate
        if activate is None:
            activate = self._registry.snapshot.get(order.task).active is None
        if activate:
            self._registry.activate(order.task, version)
        return version

    async def _stamp(self, job_id: str) -> None:
        while True:
            await asyncio.sleep(STAMP_EVERY_S)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._jobs.stamp, job_id)

    def _fail(
        self,
        job: Job,
        message: str,
        code: str | None,
        kind: str = "server_error",
        param: str | None = None,
    ) -> None:
        job.status = "failed"
        job.error = ErrorBody(message=message, type=kind, param=param, code=code)
        job.finished_at = time.time()
        try:
            self._jobs.save(job)
        except OSError as error:
            logger.error("cannot save job %s: %s", job.id, error.strerror)


@dataclass(frozen=True, slots=True)
class _Base:
    version: int
    encoder: str
    rows: ExampleRows


@dataclass(frozen=True, slots=True)
class _Encoded:
    info: EncoderInfo
    train: Codes
    test: Codes | None
    usage: dict[str, int]

    @classmethod
    def nothing(cls, info: EncoderInfo) -> _Encoded:
        no_codes = np.zeros((0, info.code_bytes), dtype=np.uint8)
        return cls(info, no_codes, None, {"inputs": 0, "cached": 0, "encoded": 0})


class _Collected:
    """Codes of chunks that come in any order."""

    def __init__(self, chunks: int) -> None:
        self._codes: list[list[bytes]] = [[] for _ in range(chunks)]
        self._info: EncoderInfo | None = None
        self._usage = {"inputs": 0, "cached": 0, "encoded": 0}
        self.done = 0

    def add(self, place: int, info: EncoderInfo, codes: list[bytes], usage: dict[str, int]) -> None:
        if self._info is not None and self._info.fingerprint != info.fingerprint:
            raise Conflict("the encoder changed during the training; start it again")
        self._info = info
        self._codes[place] = codes
        for name in self._usage:
            self._usage[name] += usage[name]
        self.done += 1

    def result(self, train_rows: int, has_test: bool) -> _Encoded:
        if self._info is None:
            raise InvalidField("there are no examples", param="examples")
        codes = stack_codes([code for chunk in self._codes for code in chunk])
        test = codes[train_rows:] if has_test else None
        return _Encoded(self._info, codes[:train_rows], test, self._usage)


@contextlib.asynccontextmanager
async def _first_error_alone() -> Any:
    """Let a task group's first error through by itself."""
    try:
        yield
    except* Exception as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
