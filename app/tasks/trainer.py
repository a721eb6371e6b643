"""Training a head as a job: encode (through the cache, like everyone), fit, evaluate, store.

Testing a version on labelled rows is a job too, which stores nothing.

The numeric part runs in a worker process of its own, so that it neither holds the event loop nor
can take the service down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from app.errors import (
    ApiError,
    Conflict,
    EncoderUnavailable,
    InvalidField,
    Overloaded,
    storage_error,
)
from app.schemas import ErrorBody, Job, JobKind, TrainOptions
from app.tasks.encode_rows import Encoded, encode_rows
from app.tasks.examples import NONE, Examples, target_array
from app.tasks.jobs import STAMP_EVERY_S, JobStore
from app.tasks.lookup import Lookup
from app.tasks.registry import Registry
from models.codes import Codes
from models.encoder import EncoderInfo
from models.example_rows import ExampleRows
from models.head_artifact import HeadManifest
from models.head_runtime import Head, TaskKind
from models.training.evaluation import EvaluationData, evaluate_rows
from models.training.job import (
    TrainingData,
    TrainingOptions,
    TrainingResult,
    end_with_parent,
    fit_and_evaluate,
)
from models.training.label_names import texts_of_names

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[Job], Awaitable[None]]
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


@dataclass(frozen=True, slots=True)
class EvaluationOrder:
    """What to test, with the labels' thresholds as they are set."""

    task: str
    version: int
    manifest: HeadManifest
    thresholds: tuple[float, ...] | None
    examples: Examples


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
        rows = len(order.train) + len(order.test or ())
        self._check_size(rows, len(order.labels), 0)
        self._check_queue()
        base = await asyncio.to_thread(self._base, order)
        if base is not None:
            self._check_size(rows, len(order.labels), len(base.rows))
        return await self._start(order.task, "training", lambda job: self._train(job, order, base))

    async def submit_evaluation(self, order: EvaluationOrder) -> Job:
        """Queue the test of a version on labelled rows.

        Raises:
            Overloaded: too many jobs are queued already.
            InvalidField: too many rows, or too many for so many labels.
            NotFound, Conflict: there is no such version, or it cannot be read.
        """
        self._check_size(len(order.examples), len(order.manifest.labels), 0)
        self._check_queue()
        head = await asyncio.to_thread(self._registry.head, order.task, order.version)
        rows = await asyncio.to_thread(self._registry.rows, order.task, order.version)
        return await self._start(
            order.task, "evaluation", lambda job: self._evaluate(job, order, head, rows)
        )

    async def in_worker(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run numeric work in the worker process, after what waits there already.

        Raises:
            BrokenProcessPool: the worker died; the next work gets a new one.
        """
        if self._workers is None:
            self._workers = ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), initializer=end_with_parent
            )
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._workers, work, *arguments)
        except BrokenProcessPool:
            self._workers = None
            raise

    async def names_of_version(self, task: str, version: int) -> Codes | None:
        """Codes of the labels' names where a version was trained with them and they can be had."""
        manifest = await asyncio.to_thread(self._registry.version, task, version)
        if not (manifest.report or {}).get("hyperparameters", {}).get("label_names"):
            return None
        with contextlib.suppress(EncoderUnavailable, Overloaded):
            texts = texts_of_names(manifest.labels, manifest.kind, rows=0)
            encoded = await encode_rows(self._lookup, texts, _unwatched)
            if encoded.info.fingerprint in manifest.encoders:
                return encoded.codes
        return None

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

    def _check_queue(self) -> None:
        if len(self._running) >= self._max_jobs:
            raise Overloaded(f"{len(self._running)} jobs are queued", retry_after=10)

    def _check_size(self, given: int, labels: int, of_base: int) -> None:
        """Refuse what would not fit into memory, counting the rows of a base too."""
        rows = given + of_base
        among = f", {of_base} of them of the base," if of_base else ""
        if rows > self._max_examples:
            raise InvalidField(
                f"examples: {rows}{among} are over the limit of {self._max_examples}",
                param="examples",
            )
        if rows * labels > MAX_CELLS:
            raise InvalidField(
                f"examples: {rows}{among} with {labels} labels are over the limit of "
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

    async def _start(self, task: str, kind: JobKind, work: Work) -> Job:
        """Queue a job."""
        job = await asyncio.to_thread(self._jobs.create, task, kind)
        running = asyncio.create_task(self._run(job, work), name=job.id)
        self._running[job.id] = running
        running.add_done_callback(lambda _: self._running.pop(job.id, None))
        return job

    async def _run(self, job: Job, work: Work) -> None:
        stamping = asyncio.create_task(self._stamp(job.id))
        try:
            async with self._turn:
                await work(job)
        except asyncio.CancelledError:
            self._fail(job, "the service was stopped", "job_interrupted")
            raise
        except ApiError as error:
            self._fail(job, error.message, error.code, error.type, error.param)
        except BrokenProcessPool:
            self._fail(job, "the training worker died (out of memory?)", "worker_died")
        except ValueError as error:
            self._fail(job, str(error), "invalid_examples", "invalid_request_error")
        except Exception as error:
            known = storage_error(error) if isinstance(error, OSError) else None
            if known is not None:
                self._fail(job, known.message, known.code, known.type)
                return
            logger.exception("%s %s failed", job.kind, job.id)
            self._fail(job, "internal error", "internal_error")
        finally:
            stamping.cancel()

    async def _train(self, job: Job, order: TrainingOrder, base: _Base | None) -> None:
        started = time.perf_counter()
        tests = (order.test or NONE).texts
        names = _names_of(order, base)
        encoded = await self._encode(job, order.train.texts + tests + names)
        encode_s = time.perf_counter() - started
        if base is not None and base.encoder != encoded.info.fingerprint:
            raise Conflict(
                f"the rows of version {base.version} are codes of encoder {base.encoder}, the "
                f"running encoder is {encoded.info.fingerprint}: give all examples",
                param="base",
            )
        job.stage, job.progress = "fitting", 0.6
        await asyncio.to_thread(self._jobs.save, job)
        test_codes = test_targets = None
        if order.test is not None:
            test_codes = encoded.codes[len(order.train) :][: len(tests)]
            test_targets = target_array(order.test, order.kind, order.labels)
        data = TrainingData(
            kind=order.kind,
            labels=order.labels,
            codes=encoded.codes[: len(order.train)],
            targets=target_array(order.train, order.kind, order.labels),
            test_codes=test_codes,
            test_targets=test_targets,
            base=None if base is None else base.rows,
            names=encoded.codes[-len(names) :] if names else None,
        )
        options = order.options
        chosen = TrainingOptions(
            options.head, options.test_fraction, options.seed, options.class_weight
        )
        result = await self.in_worker(fit_and_evaluate, data, chosen)
        report = result.report
        if base is not None:
            report["base"]["version"] = base.version
        report["seconds"] = {"encode": encode_s, "fit": report.pop("fit_seconds")}
        report["usage"] = encoded.usage
        report["options"] = options.model_dump(
            include={"head", "test_fraction", "seed", "class_weight", "label_names"}
        )
        job.stage, job.progress = "saving", 0.95
        await asyncio.to_thread(self._jobs.save, job)
        version = await asyncio.to_thread(self._store, order, encoded.info, result)
        await self._succeed(job, version, report)

    async def _evaluate(
        self, job: Job, order: EvaluationOrder, head: Head, rows: ExampleRows | None
    ) -> None:
        manifest = order.manifest
        started = time.perf_counter()
        encoded = await self._encode(job, order.examples.texts)
        encode_s = time.perf_counter() - started
        if encoded.info.fingerprint not in manifest.encoders:
            raise Conflict(
                f"version {order.version} is for encoder {next(iter(manifest.encoders), 'none')}, "
                f"the running encoder is {encoded.info.fingerprint}",
                code="head_not_usable",
            )
        job.stage, job.progress = "evaluating", 0.6
        await asyncio.to_thread(self._jobs.save, job)
        labels = list(manifest.labels)
        data = EvaluationData(
            kind=manifest.kind,
            head_kind=manifest.head,
            labels=labels,
            head=head,
            thresholds=order.thresholds,
            codes=encoded.codes,
            targets=target_array(order.examples, manifest.kind, labels),
            rows=rows,
        )
        report = await self.in_worker(evaluate_rows, data)
        report["seconds"] = {"encode": encode_s}
        report["usage"] = encoded.usage
        await self._succeed(job, order.version, report)

    async def _succeed(self, job: Job, version: int, report: dict[str, Any]) -> None:
        job.version, job.report = version, report
        job.status, job.stage, job.progress = "succeeded", "done", 1.0
        job.finished_at = time.time()
        await asyncio.to_thread(self._jobs.save, job)

    async def _encode(self, job: Job, texts: list[str]) -> Encoded:
        job.status, job.stage = "running", "encoding"
        await asyncio.to_thread(self._jobs.save, job)
        saved_at = time.monotonic()

        async def progress(share: float) -> None:
            nonlocal saved_at
            job.progress = round(0.6 * share, 3)
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                saved_at = time.monotonic()
                await asyncio.to_thread(self._jobs.save, job)

        return await encode_rows(self._lookup, texts, progress)

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
        version = self._registry.add_version(
            order.task, manifest, result.head, result.rows, result.reference
        )
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


def _names_of(order: TrainingOrder, base: _Base | None) -> list[str]:
    if order.options.head == "mlp" or not order.options.label_names:
        return []
    rows = len(order.train) + (0 if base is None else len(base.rows))
    return texts_of_names(order.labels, order.kind, rows)


async def _unwatched(share: float) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class _Base:
    version: int
    encoder: str
    rows: ExampleRows
