"""What does a block: the service's own lookup in this process, and rows in and out around it."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

from app.cache.keys import digest_texts
from app.errors import ApiError
from app.metrics import Metrics
from app.settings import Settings
from app.tasks.encode_rows import Encoded, encode_rows
from app.tasks.lookup import Limits
from app.wiring import limits_of, local_lookup
from bulk.ledger import Ledger
from bulk.plan import Block, Receipt, Refused
from bulk.rows import Texts, texts_of, values_of
from bulk.source import Source
from bulk.storage import Folder
from bulk.table import Answered, Shape, written
from models.codes import Codes
from models.encoder import EncoderInfo

# Nobody else asks this encoder: larger chunks than training takes, and one more ahead.
CHUNK = 512
AT_ONCE = 3


class Encoding:
    """Texts to codes in this process: the encoder and the cache, by the service's wiring.

    Args:
        settings: the service's.
    """

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._chunk = min(CHUNK, settings.max_inputs)
        opened = local_lookup(settings, Metrics())
        self._lookup = self._runner.run(self._stack.enter_async_context(opened))
        self.info: EncoderInfo = self._runner.run(self._lookup.info())

    def encode(self, texts: list[str]) -> Encoded:
        """Codes of texts, from the cache or by a pass.

        Raises:
            ApiError: the encoder fails.
        """
        work = encode_rows(self._lookup, texts, _unwatched, chunk=self._chunk, at_once=AT_ONCE)
        return self._runner.run(work)

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()


@contextlib.contextmanager
def encoding(settings: Settings) -> Iterator[Encoding]:
    """An encoding that is closed at the end."""
    opened = Encoding(settings)
    try:
        yield opened
    finally:
        opened.close()


@dataclass(frozen=True)
class Job:
    """What all blocks of a run have in common. Goes to every actor.

    Attributes:
        source, out: URLs.
        text_column: of the input.
        truncate: cut texts over the limit of tokens; else they are bad rows.
        encoder: fingerprint of the encoder that the run was begun with.
        shape: of the output.
        settings: the service's.
    """

    source: str
    out: str
    text_column: str
    truncate: bool
    encoder: str
    shape: Shape
    settings: Settings

    @property
    def limits(self) -> Limits:
        return limits_of(self.settings)


class Worker:
    """Does blocks of a job.

    Args:
        job: which.
        encoder: makes the codes.

    Raises:
        Refused: it is not the job's encoder.
    """

    def __init__(self, job: Job, encoder: Encoding) -> None:
        if encoder.info.fingerprint != job.encoder:
            raise Refused(
                f"{platform.node()} has encoder {encoder.info.fingerprint} "
                f"({encoder.info.device}, {encoder.info.profile}), the run's is {job.encoder}: "
                "all machines need the same weights and number format"
            )
        self._job = job
        self._encoder = encoder
        self._source = Source(job.source)
        self._ledger = Ledger(Folder(job.out))

    def do(self, block: Block, node: str) -> Receipt:
        """A block, from its rows to its file. What was done before stays as it is.

        Returns:
            Its receipt; with a failure where the encoder, the input or the output failed.
        """
        run = self._job.shape.run
        try:
            # Of an attempt whose end nobody heard of.
            earlier = self._ledger.done(run, [block]).get(block.number)
            return earlier or self._do(block, Receipt(run, block.number, node=node))
        except (ApiError, OSError, Refused) as error:
            return Receipt(run, block.number, node=node, failure=f"{type(error).__name__}: {error}")

    def _do(self, block: Block, receipt: Receipt) -> Receipt:
        started = time.perf_counter()
        job, shape = self._job, self._job.shape
        names = [job.text_column, *(field.name for field in shape.copied)]
        rows = self._source.rows(block, names)
        texts = texts_of(values_of(rows.column(job.text_column)), job.limits)
        before = time.perf_counter()
        encoded = self._encoder.encode(texts.good)
        encode_s = time.perf_counter() - before
        answered = _answered(job, texts, encoded)
        data = written(shape, block, rows, answered)
        usage = encoded.usage
        return self._ledger.commit(
            block,
            data,
            Receipt(
                run=receipt.run,
                number=block.number,
                rows=block.rows,
                bad=len(answered.faults),
                cached=usage["cached"],
                encoded=usage["encoded"],
                seconds=round(time.perf_counter() - started, 3),
                encode_s=round(encode_s, 3),
                node=receipt.node,
            ),
        )


def _answered(job: Job, texts: Texts, encoded: Encoded) -> Answered:
    digests = digest_texts(job.encoder, texts.good)
    if job.truncate or not encoded.truncated.any():
        return Answered(texts.places, digests, encoded.codes, texts.faults)
    limit = f"the text is over the limit of {encoded.info.max_tokens} tokens"
    kept = [n for n, cut in enumerate(encoded.truncated.tolist()) if not cut]
    faults = dict(texts.faults)
    for place, cut in zip(texts.places, encoded.truncated.tolist(), strict=True):
        if cut:
            faults[place] = limit
    codes: Codes = encoded.codes[kept]
    places = [texts.places[n] for n in kept]
    return Answered(places, [digests[n] for n in kept], codes, faults)


async def _unwatched(share: float) -> None:
    """Nobody looks at the progress within a block."""
