"""A batcher with a fake encoder whose passes the tests hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.encoding.batcher import Batcher, BatcherLimits
from app.encoding.protocol import EncodeResult
from app.metrics import Metrics, value_of
from models.codes import pack_bits
from models.encoder import EncodedBatch, EncoderInfo
from models.packing import BatchRule
from models.tokens import Ids, Tokens

FINGERPRINT = "0123456789abcdef" * 2
INFO = EncoderInfo("fake", FINGERPRINT, bits=64, max_tokens=32, device="cpu", profile="fake")
BUCKETS = (4, 8, 16, 32)
RULE = BatchRule(64, buckets=BUCKETS)
PATIENCE_S = 5.0


def embedding_of(text: str) -> NDArray[np.float32]:
    """What the fake encoder makes of a window."""
    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(64).astype(np.float32)


def code_of(text: str) -> bytes:
    """The reference: what the fake encoder must answer for a text of one window."""
    return pack_bits(embedding_of(text)[None]).tobytes()


def codes(result: EncodeResult) -> list[bytes]:
    return [stored.code for stored in result.codes]


@dataclass
class FakeEncoder:
    """One token a character, cut at 32, or in windows of `window` where that is set.

    `gate` and `tokenizer_gate` hold the threads while closed; a window of `poison` breaks its
    pass, a text of `untokenizable` the tokenizing of its call.
    """

    info: Any = INFO
    batching: BatchRule = RULE
    window: int = 0
    runs: list[tuple[list[str], int]] = field(default_factory=list)
    tokenized: list[list[str]] = field(default_factory=list)
    tokenized_on: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    tokenizer_gate: threading.Event = field(default_factory=threading.Event)
    poison: set[str] = field(default_factory=set)
    untokenizable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()
        self.tokenizer_gate.set()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        self.tokenized_on.append(threading.get_ident())
        self.tokenized.append(list(texts))
        assert self.tokenizer_gate.wait(PATIENCE_S)
        if self.untokenizable & set(texts):
            raise ValueError("secret text")
        return [
            Tokens(
                tuple(
                    np.array([ord(c) for c in part], dtype=np.int32) for part in self.parts(text)
                ),
                truncated=not self.window and len(text) > 32,
            )
            for text in texts
        ]

    def parts(self, text: str) -> list[str]:
        """The windows of a text."""
        if not self.window:
            return [text[:32]]
        return [text[at : at + self.window] for at in range(0, len(text), self.window)]

    def forward(self, rows: Sequence[Ids], length: int, embeddings: bool = False) -> EncodedBatch:
        texts = ["".join(map(chr, row)) for row in rows]
        self.runs.append((texts, length))
        assert self.gate.wait(PATIENCE_S)
        if self.poison & set(texts):
            raise RuntimeError("out of memory")
        floats = np.stack([embedding_of(text) for text in texts])
        return EncodedBatch(pack_bits(floats), floats if embeddings else None)

    def warm_up(self) -> None:
        raise AssertionError("nobody asked for it")

    @property
    def passes(self) -> list[list[str]]:
        return [texts for texts, _ in self.runs]

    @property
    def seen(self) -> list[str]:
        return [text for texts in self.passes for text in texts]


class House:
    """A batcher with its parts."""

    def __init__(
        self,
        cache: type[CodeCache] = CodeCache,
        *,
        rule: BatchRule = RULE,
        window: int = 0,
        **limits: int,
    ) -> None:
        known = {"max_queued_texts": 100, "max_queue_ms": 60_000}
        self.rule = rule
        self.encoder = FakeEncoder(batching=rule, window=window)
        self.metrics = Metrics()
        self.front = FrontCache(1 << 20)
        self.cache = cache(None, self.front, self.metrics)
        self.batcher = Batcher(
            self.encoder, rule, self.cache, self.metrics, BatcherLimits(**known | limits)
        )

    async def encode(self, *texts: str, embeddings: bool = False) -> EncodeResult:
        digests = digest_texts(FINGERPRINT, texts)
        call = self.batcher.encode(texts, digests, embeddings=embeddings)
        return await asyncio.wait_for(call, PATIENCE_S)

    def start(self, *texts: str, embeddings: bool = False) -> asyncio.Task[EncodeResult]:
        return asyncio.create_task(self.encode(*texts, embeddings=embeddings))

    async def occupy_device(self) -> asyncio.Task[EncodeResult]:
        """Hold a pass of the text `#` on the device until the gate opens."""
        self.encoder.gate.clear()
        task = self.start("#")
        await self.until(lambda: ["#"] in self.encoder.passes)
        return task

    async def until_queued(self, count: int) -> None:
        """Until so many texts (or windows) wait for a batch."""
        await self.until(lambda: len(self.batcher._queue) == count)

    def embedding_of(self, text: str) -> NDArray[np.float32]:
        """The reference: of several windows, their mean weighted by tokens."""
        parts = self.encoder.parts(text)
        if len(parts) == 1:
            return embedding_of(parts[0])
        total = sum(embedding_of(part).astype(np.float64) * len(part) for part in parts)
        return np.asarray(total / len(text), dtype=np.float32)

    def code_of(self, text: str) -> bytes:
        return pack_bits(self.embedding_of(text)[None]).tobytes()

    def stored(self, text: str) -> StoredCode | None:
        return self.front.get_many(digest_texts(FINGERPRINT, [text]))[0]

    @staticmethod
    async def until(check: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not check():
                await asyncio.sleep(0.001)

    def idle(self) -> bool:
        batcher = self.batcher
        return (
            value_of(self.metrics.queued_texts) == batcher._admission.texts == 0
            and len(batcher._queue) == batcher._queue.tokens == 0
            and batcher._free_workers == self.rule.workers
            and not batcher._in_flight
            and not batcher._tasks
        )
