"""Dynamic batching over concurrent requests: the effects around the pure queue.

A request's misses are admitted or refused, tokenized, queued, run in batches on the device's worker
threads, written to the cache, and only then answered: whoever has an answer finds the code in the
cache. A text that is in flight already is joined, not encoded again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.cache.code_cache import CodeCache
from app.cache.keys import StoredCode
from app.encoding.admission import Admission
from app.encoding.in_flight import Call, Encoded, Entry, Piece
from app.encoding.protocol import OWN_WORK, EncodeResult, EncoderState, EncodeTiming, Origin
from app.encoding.queue import Batch, TurnQueue
from app.errors import EncoderUnavailable, Overloaded
from app.metrics import Metrics
from models.encoder import EncodedBatch, Encoder, EncoderInfo
from models.packing import BatchRule
from models.tokens import Tokens

logger = logging.getLogger(__name__)

# Fewer letters are tokenized on the event loop: that takes less than the way to a thread and back.
INLINE_LETTERS = 4096


@dataclass(frozen=True, slots=True)
class BatcherLimits:
    """See the settings of the same names."""

    max_queued_texts: int
    max_queue_ms: int


class Batcher:
    """Texts to codes on this process's device (see `TextEncoder`).

    Args:
        encoder: the device.
        rule: how it wants its batches, or a setting does.
        cache: where codes go before they are answered.
        metrics: of this process.
        limits: of what may wait.
    """

    def __init__(
        self,
        encoder: Encoder,
        rule: BatchRule,
        cache: CodeCache,
        metrics: Metrics,
        limits: BatcherLimits,
    ) -> None:
        self._encoder = encoder
        self._rule = rule
        self._info = encoder.info
        self._cache = cache
        self._metrics = metrics
        self._admission = Admission(
            limits.max_queued_texts, limits.max_queue_ms / 1e3, rule.workers
        )
        self._queue: TurnQueue[Piece] = TurnQueue(rule)
        self._in_flight: dict[tuple[bytes, bool], Entry] = {}
        self._tokenizer_thread = _started(1, "tokenizer")
        self._workers = _started(rule.workers, "device")
        self._free_workers = rule.workers
        self._dispatching = False
        self._short_since: float | None = None  # texts wait, and no worker has been free
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def info(self) -> EncoderInfo:
        return self._info

    def is_up(self) -> bool:
        return not self._closed

    def states(self) -> list[EncoderState]:
        return []

    async def encode(
        self,
        texts: Sequence[str],
        digests: Sequence[bytes],
        *,
        embeddings: bool = False,
        origin: Origin = OWN_WORK,
    ) -> EncodeResult:
        """Encode texts.

        Args:
            texts: what to encode.
            digests: their digests, in the same order.
            embeddings: also give the float embeddings.
            origin: whose turn it is. The deadline is the caller's to keep: whoever stops waiting
                is cancelled, and what nobody waits for leaves the queue.

        Raises:
            Overloaded: too much is waiting already; nothing was queued.
            EncoderUnavailable: the device failed, or this process is going down.
        """
        if self._closed:
            raise EncoderUnavailable("the encoder is shutting down", retry_after=2)
        if not texts:
            return EncodeResult([], [] if embeddings else None, 0, EncodeTiming())
        call = Call(asyncio.get_running_loop().create_future())
        entries, created = self._admit(digests, embeddings, call, origin.client)
        timing = EncodeTiming()
        try:
            if created:
                started = time.perf_counter()
                await self._tokenize([texts[place] for place, _ in created], created)
                timing.tokenization = time.perf_counter() - started
                self._metrics.tokenization_duration.observe(timing.tokenization)
            await call.done
        finally:
            self._release(call, entries)
        done = [entry.result for entry in entries if entry.result is not None]
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
        ends = time.monotonic() + grace_s
        while self._in_flight and self._tasks and (left := ends - time.monotonic()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        gone = EncoderUnavailable("the encoder is shutting down", retry_after=2)
        for entry in list(self._in_flight.values()):
            self._fail(entry, gone)
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tokenizer_thread.shutdown(wait=False, cancel_futures=True)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _admit(
        self, digests: Sequence[bytes], embeddings: bool, call: Call, client: str
    ) -> tuple[list[Entry], list[tuple[int, Entry]]]:
        """Join what is in flight or just done, create the rest; all of it or nothing."""
        keys = [(digest, embeddings) for digest in digests]
        known = {key: self._in_flight.get(key) or self._just_done(key) for key in keys}
        new = sum(entry is None for entry in known.values())
        # Not tokenized yet: taken for as long as those that wait.
        tokens = new * self._queue.tokens // max(1, len(self._queue))
        if self._is_late(new, tokens, client) or not self._admission.try_enter(new, client):
            raise self._overloaded()
        self._metrics.queued_texts.set(self._admission.texts)
        entries, created = [], []
        for place, key in enumerate(keys):
            entry = known[key]
            if entry is None:
                entry = known[key] = self._in_flight[key] = Entry(key, client)
                created.append((place, entry))
            entries.append(entry)
            if not entry.ended:
                entry.calls.append(call)
                call.missing += 1
        if not call.missing:
            call.done.set_result(None)
        return entries, created

    def _just_done(self, key: tuple[bytes, bool]) -> Entry | None:
        """A text whose code was stored while its caller was on the way from a miss to here."""
        digest, embedding = key
        stored = None if embedding else self._cache.recent(digest)
        if stored is None:
            return None
        return Entry(key, result=Encoded(stored, None, 0.0, 0.0), ended=True)

    async def _tokenize(self, texts: list[str], created: list[tuple[int, Entry]]) -> None:
        """Tokenize new entries and queue them. On any end but success they are failed."""
        entries = [entry for _, entry in created]
        if sum(map(len, texts)) <= INLINE_LETTERS:
            try:
                self._enqueue(self._encoder.tokenize(texts), entries)
            except Exception as error:
                self._tokenizing_failed(entries, error)
            return
        # Waited for, not awaited: others may have joined these texts, and stay when this caller
        # leaves; and when the service goes down the entries say so, not the task.
        await asyncio.wait([self._start(self._tokenize_on_thread(texts, entries))])

    async def _tokenize_on_thread(self, texts: list[str], entries: list[Entry]) -> None:
        loop = asyncio.get_running_loop()
        try:
            tokenized = await loop.run_in_executor(
                self._tokenizer_thread, self._encoder.tokenize, texts
            )
            self._enqueue(tokenized, entries)
        except Exception as error:
            self._tokenizing_failed(entries, error)

    def _tokenizing_failed(self, entries: list[Entry], error: Exception) -> None:
        logger.error("tokenizing failed", exc_info=error)
        failure = EncoderUnavailable(f"tokenizing failed: {type(error).__name__}")
        for entry in entries:
            self._fail(entry, failure)

    def _enqueue(self, tokenized: Sequence[Tokens], entries: list[Entry]) -> None:
        pairs = list(zip(entries, tokenized, strict=True))
        lengths = [len(ids) for one in tokenized for ids in one.windows]
        tokens = sum(map(self._rule.padded, lengths))
        if self._is_late(len(lengths), tokens, entries[0].client):
            refusal = self._overloaded()
            for entry in entries:
                self._fail(entry, refusal)
            return
        now = time.perf_counter()
        place = 0
        for entry, windows in pairs:
            if entry.ended:  # everybody who wanted it has left meanwhile
                continue
            for piece in entry.split(windows, now):
                self._queue.push(piece, len(piece.ids), place, entry.client)
                place += 1
        if not self._dispatching:
            # After the other requests that are already at the door: they share the batch.
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _release(self, call: Call, entries: list[Entry]) -> None:
        """A caller no longer waits; entries that nobody waits for leave the queue."""
        if call.missing == 0:
            return
        for entry in entries:
            if entry.ended:
                continue
            entry.calls = [other for other in entry.calls if other is not call]
            if entry.calls:
                continue
            # All of it in batches already? Then it is finished and cached all the same.
            dropped = [self._queue.discard(piece) for piece in entry.pieces]
            if any(dropped) or not dropped:
                self._end(entry)

    def _dispatch(self) -> None:
        """Give every free worker a batch, chosen as late as can be: the fuller for it."""
        self._dispatching = False
        while self._free_workers:
            batch = self._queue.take()
            if batch is None:
                break
            self._free_workers -= 1
            rows = [piece.ids for piece in batch.entries]
            embeddings = any(piece.wants_embedding for piece in batch.entries)
            try:
                # Not from the task, whose turn comes after all that is ready: too late.
                encoded = asyncio.get_running_loop().run_in_executor(
                    self._workers, self._encoder.forward, rows, batch.width, embeddings
                )
            except Exception as error:  # no memory for it
                self._free_workers += 1
                self._fail_batch(batch, error)
                continue
            self._start(self._finish(batch, encoded, time.perf_counter()))
        self._metrics.queued_tokens.set(self._queue.tokens)

    async def _finish(
        self, batch: Batch[Piece], running: asyncio.Future[EncodedBatch], started: float
    ) -> None:
        """Store and answer a batch when the device is done with it; on any failure, say so."""
        try:
            try:
                encoded = await running
            except Exception as error:
                # Before the next batch is made up: no other windows of these texts are for it.
                self._fail_batch(batch, error)
                return
            finally:
                ended = time.perf_counter()
                since_last = None if self._short_since is None else ended - self._short_since
                self._free_workers += 1
                self._dispatch()  # the next batch runs while this one is stored and answered
                self._short_since = ended if len(self._queue) else None
            self._admission.record(batch.tokens, ended - started, since_last)
            self._observe(batch, ended - started, started)
            await self._answer(_finished(batch, encoded, started, ended - started))
        # Out of memory, anything can fail; without an answer its waiters would wait for ever.
        except Exception as error:
            self._fail_batch(batch, error)

    async def _answer(self, finished: list[tuple[Entry, Encoded]]) -> None:
        stored = {entry.key[0]: one.stored for entry, one in finished}
        try:
            await self._cache.set_many(self._info.fingerprint, stored)
        # Whatever the cache does, waiters get their codes.
        except (Exception, asyncio.CancelledError):
            logger.exception("writing to the cache failed")
        for entry, one in finished:
            if entry.ended:  # the service went down meanwhile
                continue
            entry.result = one
            self._end(entry)
            for call in entry.calls:
                call.one_done()

    def _fail_batch(self, batch: Batch[Piece], error: Exception) -> None:
        logger.error("a forward pass failed", exc_info=error)
        failure = EncoderUnavailable(f"the encoder failed: {type(error).__name__}", retry_after=1)
        for piece in batch.entries:
            self._fail(piece.entry, failure)

    def _observe(self, batch: Batch[Piece], seconds: float, started: float) -> None:
        metrics = self._metrics
        metrics.encoder_passes.inc(sum(piece.number == 0 for piece in batch.entries))
        metrics.encoder_batches.inc()
        metrics.inference_duration.observe(seconds)
        metrics.batch_tokens.observe(batch.tokens)
        metrics.batch_texts.observe(len(batch.entries))
        metrics.padding_share.observe(batch.padding_share)
        metrics.encoded_tokens.inc(batch.real_tokens)
        metrics.padding_tokens.inc(batch.tokens - batch.real_tokens)
        for piece in batch.entries:
            metrics.queue_duration.observe(started - piece.entry.queued_at)

    def _fail(self, entry: Entry, error: Exception) -> None:
        if entry.ended:
            return
        for piece in entry.pieces:
            self._queue.discard(piece)
        self._end(entry)
        for call in entry.calls:
            call.fail(error)

    def _end(self, entry: Entry) -> None:
        entry.ended = True
        if self._in_flight.get(entry.key) is entry:  # a newer one may have its place
            del self._in_flight[entry.key]
        self._admission.leave(1, entry.client)
        self._metrics.queued_texts.set(self._admission.texts)

    def _is_late(self, texts: int, tokens: int, client: str) -> bool:
        ahead = self._queue.ahead(texts, tokens, client)
        return texts > 0 and self._admission.is_late(ahead, tokens)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"too much is waiting: {self._admission.texts} texts, {self._queue.tokens} tokens",
            retry_after=self._admission.retry_after(self._queue.tokens),
        )

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _started(count: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads run already: there may be no memory for a thread later."""
    pool = ThreadPoolExecutor(count, name)
    together = threading.Barrier(count + 1)
    for _ in range(count):
        pool.submit(together.wait)
    together.wait()
    return pool


def _finished(
    batch: Batch[Piece], encoded: EncodedBatch, started: float, seconds: float
) -> list[tuple[Entry, Encoded]]:
    """Entries whose last piece this batch encoded."""
    finished = []
    for row, piece in enumerate(batch.entries):
        entry = piece.entry
        if entry.ended:
            continue
        embedding = encoded.embeddings[row] if encoded.embeddings is not None else None
        pooled = entry.collect(piece, encoded.codes[row], embedding)
        if pooled is not None:
            code, floats = pooled
            stored = StoredCode(code.tobytes(), entry.tokens, entry.truncated)
            wanted = floats if entry.key[1] else None
            finished.append((entry, Encoded(stored, wanted, started - entry.queued_at, seconds)))
    return finished
