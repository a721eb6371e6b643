"""Dynamic batching over concurrent requests: the effects around the pure queue.

A request's misses are admitted or refused, tokenized off the event loop, queued by length, run in
batches on the one device thread, written to the cache, and only then answered: whoever has an
answer finds the code in the cache. A text that is in flight already is joined, not encoded again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.cache.code_cache import CodeCache
from app.cache.keys import StoredCode
from app.encoding.admission import Admission
from app.encoding.protocol import Encoder, EncodeResult, EncoderInfo, EncodeTiming, Tokens
from app.encoding.queue import Batch, BucketQueue
from app.errors import EncoderUnavailable, Overloaded
from app.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """See the settings of the same names. `depth`: batches handed to the device thread at once."""

    max_batch_tokens: int
    max_queued_texts: int
    max_queued_tokens: int
    max_skipped_batches: int
    depth: int = 1


@dataclass(frozen=True, slots=True)
class _Encoded:
    stored: StoredCode
    embedding: NDArray[np.float32] | None
    queue_s: float
    inference_s: float


@dataclass(eq=False, slots=True)
class _Entry:
    """One text in flight. `waiters` counts the calls that want it; without any it is dropped."""

    key: tuple[bytes, bool]
    future: asyncio.Future[_Encoded]
    waiters: int = 0
    tokens: Tokens | None = None
    queued_at: float = 0.0


class Batcher:
    """Texts to codes on this process's device (see `TextEncoder`)."""

    def __init__(
        self,
        encoder: Encoder,
        info: EncoderInfo,
        buckets: Sequence[int],
        cache: CodeCache,
        metrics: Metrics,
        limits: BatcherLimits,
    ) -> None:
        self._encoder = encoder
        self._info = info
        self._cache = cache
        self._metrics = metrics
        self._admission = Admission(limits.max_queued_texts, limits.max_queued_tokens)
        self._queue: BucketQueue[_Entry] = BucketQueue(
            buckets,
            max_batch_tokens=limits.max_batch_tokens,
            max_skipped=limits.max_skipped_batches,
        )
        self._in_flight: dict[tuple[bytes, bool], _Entry] = {}
        self._tokenizer_thread = ThreadPoolExecutor(1, "tokenizer")
        self._device_thread = ThreadPoolExecutor(1, "device")
        self._device_slots = asyncio.Semaphore(limits.depth)
        self._work = asyncio.Event()
        self._batches: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop_task = asyncio.create_task(self._run(), name="batcher")

    async def info(self) -> EncoderInfo:
        return self._info

    async def is_up(self) -> bool:
        return not self._closed

    async def encode(
        self, texts: Sequence[str], digests: Sequence[bytes], *, embeddings: bool = False
    ) -> EncodeResult:
        """Encode texts.

        Args:
            texts: what to encode.
            digests: their digests, in the same order.
            embeddings: also give the float embeddings.

        Raises:
            Overloaded: too much is waiting already; nothing was queued.
            EncoderUnavailable: the device failed, or this process is going down.
        """
        if self._closed:
            raise EncoderUnavailable("the encoder is shutting down", retry_after=2)
        entries, created = self._admit(digests, embeddings)
        timing = EncodeTiming()
        try:
            if created:
                started = time.perf_counter()
                await self._tokenize([texts[place] for place, _ in created], created)
                timing.tokenization = time.perf_counter() - started
                self._metrics.tokenization_duration.observe(timing.tokenization)
            await asyncio.wait([entry.future for entry in entries])
        finally:
            self._release(entries)
        done = [entry.future.result() for entry in entries]
        timing.queue = max(one.queue_s for one in done)
        timing.inference = max(one.inference_s for one in done)
        floats = [one.embedding for one in done if one.embedding is not None]
        return EncodeResult(
            codes=[one.stored for one in done],
            embeddings=floats if embeddings else None,
            encoded=len(created),
            timing=timing,
        )

    async def close(self, grace_s: float = 10.0) -> None:
        """Finish what is in flight, as far as `grace_s` allows; fail the rest."""
        self._closed = True
        waiting = [entry.future for entry in self._in_flight.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_s)
        self._loop_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop_task
        gone = EncoderUnavailable("the encoder is shutting down", retry_after=2)
        for entry in list(self._in_flight.values()):
            self._fail(entry, gone)
        self._tokenizer_thread.shutdown(wait=False, cancel_futures=True)
        self._device_thread.shutdown(wait=False, cancel_futures=True)

    def _admit(
        self, digests: Sequence[bytes], embeddings: bool
    ) -> tuple[list[_Entry], list[tuple[int, _Entry]]]:
        """Join what is in flight, create what is not; all of it or nothing."""
        keys = [(digest, embeddings) for digest in digests]
        new = len(set(keys) - self._in_flight.keys())
        if not self._admission.try_enter(new):
            raise self._overloaded()
        self._metrics.queued_texts.set(self._admission.texts)
        loop = asyncio.get_running_loop()
        entries, created = [], []
        for place, key in enumerate(keys):
            entry = self._in_flight.get(key)
            if entry is None:
                entry = _Entry(key, loop.create_future())
                entry.future.add_done_callback(self._left)
                self._in_flight[key] = entry
                created.append((place, entry))
            entry.waiters += 1
            entries.append(entry)
        return entries, created

    async def _tokenize(self, texts: list[str], created: list[tuple[int, _Entry]]) -> None:
        """Tokenize new entries and queue them. On any end but success they are failed."""
        entries = [entry for _, entry in created]
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._tokenizer_thread, self._encoder.tokenize, texts)
        # Shielded: others may have joined these texts, and stay when this caller leaves.
        task = asyncio.ensure_future(self._enqueue(job, entries))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)
        await asyncio.shield(task)

    async def _enqueue(self, job: asyncio.Future[Sequence[Tokens]], entries: list[_Entry]) -> None:
        try:
            tokenized = await job
            lengths = [len(tokens.ids) for tokens, _ in zip(tokenized, entries, strict=True)]
            padded = sum(self._queue.bucket_for(length) for length in lengths)
        except asyncio.CancelledError:
            return  # the process goes down: `close` has failed the entries
        except Exception as error:
            logger.exception("tokenizing failed")
            for entry in entries:
                self._fail(entry, EncoderUnavailable(f"tokenizing failed: {type(error).__name__}"))
            return
        if not self._admission.has_room(self._queue.tokens, padded):
            for entry in entries:
                self._fail(entry, self._overloaded())
            return
        now = time.perf_counter()
        for entry, tokens, length in zip(entries, tokenized, lengths, strict=True):
            if entry.future.done():
                continue
            entry.tokens, entry.queued_at = tokens, now
            self._queue.push(entry, length)
        self._metrics.queued_tokens.set(self._queue.tokens)
        self._work.set()

    def _release(self, entries: list[_Entry]) -> None:
        """One caller no longer waits; entries that nobody waits for leave the queue."""
        for entry in entries:
            entry.waiters -= 1
            if entry.waiters or entry.future.done():
                continue
            # In a batch already? Then it is finished and cached all the same.
            if entry.tokens is None or self._queue.discard(entry):
                entry.future.cancel()
                self._in_flight.pop(entry.key, None)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            await self._device_slots.acquire()
            batch = self._queue.take()  # as late as can be: the fuller for it
            if batch is None:
                self._device_slots.release()
                self._work.clear()
                continue
            self._metrics.queued_tokens.set(self._queue.tokens)
            task = asyncio.create_task(self._forward(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def _forward(self, batch: Batch[_Entry]) -> None:
        try:
            done = await self._encode_batch(batch)
        except Exception as error:
            logger.exception("a forward pass failed")
            failure = EncoderUnavailable(
                f"the encoder failed: {type(error).__name__}", retry_after=1
            )
            for entry in batch.entries:
                self._fail(entry, failure)
            return
        stored = {e.key[0]: one.stored for e, one in zip(batch.entries, done, strict=True)}
        try:
            await self._cache.set_many(self._info.fingerprint, stored)
        # Whatever the cache does, waiters get their codes.
        except (Exception, asyncio.CancelledError):
            logger.exception("writing to the cache failed")
        for entry, one in zip(batch.entries, done, strict=True):
            self._in_flight.pop(entry.key, None)
            if not entry.future.done():
                entry.future.set_result(one)

    async def _encode_batch(self, batch: Batch[_Entry]) -> list[_Encoded]:
        """One pass on the device thread; what it gives, entry by entry."""
        tokens = [entry.tokens for entry in batch.entries if entry.tokens is not None]
        embeddings = any(entry.key[1] for entry in batch.entries)
        rows = [one.ids for one in tokens]
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        try:
            encoded = await loop.run_in_executor(
                self._device_thread, self._encoder.forward, rows, batch.length, embeddings
            )
        finally:
            self._device_slots.release()
        seconds = time.perf_counter() - started
        self._observe(batch, seconds, started)
        floats = [None] * len(rows) if encoded.embeddings is None else list(encoded.embeddings)
        return [
            _Encoded(
                stored=StoredCode(code.tobytes(), len(one.ids), one.truncated),
                embedding=embedding if entry.key[1] else None,
                queue_s=started - entry.queued_at,
                inference_s=seconds,
            )
            for entry, one, code, embedding in zip(
                batch.entries, tokens, encoded.codes, floats, strict=True
            )
        ]

    def _observe(self, batch: Batch[_Entry], seconds: float, started: float) -> None:
        self._admission.record(batch.tokens, seconds)
        metrics = self._metrics
        metrics.encoder_passes.inc(len(batch.entries))
        metrics.encoder_batches.inc()
        metrics.inference_duration.observe(seconds)
        metrics.batch_tokens.observe(batch.tokens)
        metrics.padding_share.observe(batch.padding_share)
        for entry in batch.entries:
            metrics.queue_duration.observe(started - entry.queued_at)

    def _fail(self, entry: _Entry, error: Exception) -> None:
        if self._in_flight.get(entry.key) is entry:  # a newer one may have its place
            del self._in_flight[entry.key]
        if not entry.future.done():
            entry.future.set_exception(error)
            entry.future.exception()  # seen, even if every waiter has left

    def _left(self, future: asyncio.Future[_Encoded]) -> None:
        self._admission.leave(1)
        self._metrics.queued_texts.set(self._admission.texts)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"too much is waiting: {self._admission.texts} texts, {self._queue.tokens} tokens",
            retry_after=self._admission.retry_after(self._queue.tokens),
        )
