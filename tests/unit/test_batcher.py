"""app.encoding.batcher with a fake encoder whose passes the tests hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.encoding.batcher import Batcher, BatcherLimits
from app.encoding.protocol import EncodeResult, EncoderInfo
from app.errors import EncoderUnavailable, Overloaded
from app.metrics import Metrics, value_of
from models.codes import unpack_signs

FINGERPRINT = "0123456789abcdef" * 2
INFO = EncoderInfo("fake", FINGERPRINT, bits=64, max_tokens=32, device="cpu", profile="fake")
BUCKETS = (4, 8, 16, 32)
PATIENCE_S = 5.0


def code_of(text: str) -> bytes:
    """The reference: what the fake encoder must answer for a text."""
    return blake2b(text.encode(), digest_size=8).digest()


@dataclass(frozen=True)
class FakeTokens:
    ids: NDArray[np.int64]
    truncated: bool


@dataclass(frozen=True)
class FakeBatch:
    codes: NDArray[np.uint8]
    embeddings: NDArray[np.float32] | None


@dataclass
class FakeEncoder:
    """One token a character, cut at 32.

    `gate` and `tokenizer_gate` hold the two threads while closed; a text of `poison` breaks its
    pass, one of `untokenizable` the tokenizing of its call.
    """

    info: Any = INFO
    passes: list[list[str]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    tokenized: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    tokenizer_gate: threading.Event = field(default_factory=threading.Event)
    poison: set[str] = field(default_factory=set)
    untokenizable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.gate.set()
        self.tokenizer_gate.set()

    def tokenize(self, texts: Sequence[str]) -> list[FakeTokens]:
        self.tokenized.append(list(texts))
        assert self.tokenizer_gate.wait(PATIENCE_S)
        if self.untokenizable & set(texts):
            raise ValueError("secret text")
        return [FakeTokens(np.array([ord(c) for c in text[:32]]), len(text) > 32) for text in texts]

    def forward(
        self, rows: Sequence[NDArray[np.int64]], length: int, embeddings: bool = False
    ) -> FakeBatch:
        texts = ["".join(map(chr, row)) for row in rows]
        self.passes.append(texts)
        self.lengths.append(length)
        assert self.gate.wait(PATIENCE_S)
        if self.poison & set(texts):
            raise RuntimeError("out of memory")
        codes = np.array([list(code_of(text)) for text in texts], dtype=np.uint8)
        return FakeBatch(codes, unpack_signs(codes) if embeddings else None)

    @property
    def seen(self) -> list[str]:
        return [text for texts in self.passes for text in texts]


class House:
    """A batcher with its parts."""

    def __init__(self, cache: type[CodeCache] = CodeCache, **limits: int) -> None:
        known = {
            "max_batch_tokens": 64,
            "max_queued_texts": 100,
            "max_queued_tokens": 1000,
            "max_skipped_batches": 4,
        }
        self.encoder = FakeEncoder()
        self.metrics = Metrics()
        self.front = FrontCache(1 << 20)
        self.cache = cache(None, self.front, self.metrics)
        self.batcher = Batcher(
            self.encoder, INFO, BUCKETS, self.cache, self.metrics, BatcherLimits(**known | limits)
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
        await self.until(lambda: len(self.batcher._queue) == count)

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
            and (batcher._closed or len(batcher._queue) == batcher._queue.tokens == 0)
            and not batcher._in_flight
            and not batcher._batches
        )


@pytest.fixture
async def make_house() -> AsyncIterator[Callable[..., House]]:
    """Houses that must be idle at the end of the test: nothing leaks, whatever happened."""
    houses: list[House] = []

    def make(cache: type[CodeCache] = CodeCache, **limits: int) -> House:
        houses.append(House(cache, **limits))
        return houses[-1]

    yield make
    for house in houses:
        house.encoder.gate.set()
        house.encoder.tokenizer_gate.set()
        await house.until(house.idle)
        await house.batcher.close()


@pytest.fixture
async def house(make_house: Callable[..., House]) -> House:
    return make_house()


def codes(result: EncodeResult) -> list[bytes]:
    return [stored.code for stored in result.codes]


async def test_codes_come_in_the_order_of_the_texts(house: House) -> None:
    texts = ["a" * n for n in (9, 1, 30, 5, 2, 17)]
    result = await house.encode(*texts)
    assert codes(result) == [code_of(text) for text in texts]
    assert [stored.tokens for stored in result.codes] == [len(text) for text in texts]
    assert result.encoded == len(texts)
    assert result.embeddings is None


async def test_a_cut_text_says_so(house: House) -> None:
    result = await house.encode("x" * 33, "x" * 32)
    assert [(one.tokens, one.truncated) for one in result.codes] == [(32, True), (32, False)]


async def test_concurrent_identical_texts_are_encoded_once(house: House) -> None:
    busy = await house.occupy_device()
    calls = [house.start("same", f"own{n}") for n in range(4)]
    await house.until_queued(5)
    house.encoder.gate.set()
    results = await asyncio.gather(busy, *calls)
    assert house.encoder.seen.count("same") == 1
    assert sum(result.encoded for result in results) == len(house.encoder.seen) == 6
    for number, result in enumerate(results[1:]):
        assert codes(result) == [code_of("same"), code_of(f"own{number}")]


async def test_a_text_on_the_device_is_joined(house: House) -> None:
    busy = await house.occupy_device()
    joined = house.start("#")
    await asyncio.sleep(0.01)
    house.encoder.gate.set()
    assert codes(await joined) == codes(await busy) == [code_of("#")]
    assert house.encoder.seen == ["#"]


async def test_duplicates_inside_one_call_are_encoded_once(house: House) -> None:
    result = await house.encode("twin", "other", "twin")
    assert codes(result) == [code_of("twin"), code_of("other"), code_of("twin")]
    assert sorted(house.encoder.seen) == ["other", "twin"]
    assert result.encoded == 2


async def test_codes_and_embeddings_asked_for_together(house: House) -> None:
    busy = await house.occupy_device()
    plain, full = house.start("both", "abc"), house.start("both", "xyz", embeddings=True)
    await house.until_queued(4)
    house.encoder.gate.set()
    await busy
    assert (await plain).embeddings is None
    result = await full
    assert result.embeddings is not None
    assert codes(result) == [code_of("both"), code_of("xyz")]
    for code, embedding in zip(codes(result), result.embeddings, strict=True):
        expected = unpack_signs(np.frombuffer(code, dtype=np.uint8)[None])[0]
        assert np.array_equal(embedding, expected)


async def test_embeddings_of_duplicates(house: House) -> None:
    result = await house.encode("twin", "twin", embeddings=True)
    assert result.embeddings is not None
    assert len(result.embeddings) == 2
    assert house.encoder.seen == ["twin"]


async def test_batches_respect_the_token_budget_and_one_length(
    make_house: Callable[..., House],
) -> None:
    house = make_house(max_batch_tokens=16)
    busy = await house.occupy_device()
    texts = [f"{n:02}" * (1 + n % 8) for n in range(40)] + ["z" * 20, "y" * 21]
    call = house.start(*texts)
    await house.until_queued(len(texts))
    house.encoder.gate.set()
    result = await call
    await busy
    assert codes(result) == [code_of(text) for text in texts]
    for batch, length in zip(house.encoder.passes, house.encoder.lengths, strict=True):
        assert len(batch) * length <= 16 or len(batch) == 1
        assert all(next(b for b in BUCKETS if b >= len(text)) == length for text in batch)
    assert len(house.encoder.passes) < len(texts)


async def test_a_cancelled_callers_texts_are_dropped_but_shared_ones_stay(house: House) -> None:
    busy = await house.occupy_device()
    leaving = house.start("own", "shared")
    await house.until_queued(2)
    staying = house.start("shared")
    await asyncio.sleep(0.01)
    leaving.cancel()
    await house.until_queued(1)
    house.encoder.gate.set()
    assert codes(await staying) == [code_of("shared")]
    await busy
    assert sorted(house.encoder.seen) == ["#", "shared"]
    assert leaving.cancelled()


async def test_all_waiters_cancelled(house: House) -> None:
    busy = await house.occupy_device()
    calls = [house.start("gone", "lost"), house.start("lost", "gone")]
    await house.until_queued(2)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await house.until_queued(0)
    assert value_of(house.metrics.queued_texts) == 1  # what is on the device
    house.encoder.gate.set()
    await busy
    assert house.encoder.seen == ["#"]


async def test_a_text_whose_waiters_left_during_the_pass_is_cached(house: House) -> None:
    busy = await house.occupy_device()
    busy.cancel()
    await asyncio.wait([busy])
    house.encoder.gate.set()
    await house.until(house.idle)
    assert house.stored("#") == StoredCode(code_of("#"), 1, False)


async def test_a_caller_that_leaves_during_tokenizing(house: House) -> None:
    house.encoder.tokenizer_gate.clear()
    leaving = house.start("own", "shared")
    await house.until(lambda: bool(house.encoder.tokenized))
    staying = house.start("shared")
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    house.encoder.tokenizer_gate.set()
    assert codes(await staying) == [code_of("shared")]
    assert house.encoder.seen == ["shared"]


async def test_a_failed_pass_fails_all_its_waiters_and_the_next_call_works(house: House) -> None:
    house.encoder.poison = {"#"}
    busy = await house.occupy_device()
    joined, other = house.start("#"), house.start("other")
    await house.until_queued(1)
    house.encoder.gate.set()
    for call in (busy, joined):
        with pytest.raises(EncoderUnavailable, match="RuntimeError") as caught:
            await call
        assert caught.value.retry_after
        assert "out of memory" not in caught.value.message
    assert codes(await other) == [code_of("other")]
    house.encoder.poison = set()
    assert codes(await house.encode("#")) == [code_of("#")]


async def test_a_call_with_one_failed_text_fails(house: House) -> None:
    house.encoder.poison = {"bad"}
    with pytest.raises(EncoderUnavailable):
        await house.encode("bad", "good" * 5)
    assert house.stored("good" * 5) is not None  # of another bucket, so of another pass


async def test_a_failing_tokenizer_fails_its_waiters_and_the_next_call_works(house: House) -> None:
    house.encoder.untokenizable = {"b"}
    house.encoder.tokenizer_gate.clear()
    first = house.start("a", "b")
    await house.until(lambda: bool(house.encoder.tokenized))
    joined = house.start("b")
    await asyncio.sleep(0.01)
    house.encoder.tokenizer_gate.set()
    for call in (first, joined):
        with pytest.raises(EncoderUnavailable, match="ValueError") as caught:
            await call
        assert "secret" not in caught.value.message
    house.encoder.untokenizable = set()
    assert codes(await house.encode("a")) == [code_of("a")]


@pytest.mark.parametrize("tokenize", [lambda texts: [], lambda texts: [long_tokens()] * len(texts)])
async def test_a_broken_tokenizer_fails_those_who_joined_too(
    house: House, monkeypatch: pytest.MonkeyPatch, tokenize: Callable[..., Any]
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(
        house.encoder, "tokenize", lambda texts: gate.wait(PATIENCE_S) and tokenize(texts)
    )
    calls = [house.start("a", "b"), house.start("b")]
    await house.until(lambda: value_of(house.metrics.queued_texts) == 2)
    await asyncio.sleep(0.01)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [EncoderUnavailable] * 2


def long_tokens() -> FakeTokens:
    return FakeTokens(np.zeros(BUCKETS[-1] + 1, dtype=np.int64), False)


async def test_a_late_tokenizer_failure_leaves_a_newer_entry_of_the_text_alone(
    house: House,
) -> None:
    busy = await house.occupy_device()
    house.encoder.tokenizer_gate.clear()
    house.encoder.untokenizable = {"bad"}
    leaving = house.start("x", "bad")
    await house.until(lambda: ["x", "bad"] in house.encoder.tokenized)
    leaving.cancel()
    await asyncio.wait([leaving])
    second = house.start("x")
    await asyncio.sleep(0.01)
    house.encoder.tokenizer_gate.set()
    await house.until_queued(1)
    third = house.start("x")  # must join the second, which still waits
    await asyncio.sleep(0.01)
    house.encoder.gate.set()
    assert codes(await second) == codes(await third) == [code_of("x")]
    await busy
    assert house.encoder.seen.count("x") == 1


async def test_overloaded_by_texts_queues_nothing(make_house: Callable[..., House]) -> None:
    house = make_house(max_queued_texts=3)
    busy = await house.occupy_device()
    waiting = house.start("one")
    await house.until_queued(1)
    with pytest.raises(Overloaded) as caught:
        await house.encode("two", "three")
    assert caught.value.retry_after >= 1
    assert value_of(house.metrics.queued_texts) == 2
    # What is in flight costs no permit, so only one of these is new.
    last = house.start("#", "one", "two", "two")
    await house.until_queued(2)
    house.encoder.gate.set()
    assert codes(await last) == [code_of(text) for text in ("#", "one", "two", "two")]
    await asyncio.gather(busy, waiting)
    assert "three" not in house.encoder.seen


async def test_overloaded_by_tokens_fails_joined_callers_too(
    make_house: Callable[..., House],
) -> None:
    house = make_house(max_queued_tokens=24)
    busy = await house.occupy_device()
    waiting = house.start("a" * 16)
    await house.until_queued(1)
    house.encoder.tokenizer_gate.clear()
    refused = [house.start("b" * 9, "c"), house.start("c")]
    await house.until(lambda: value_of(house.metrics.queued_texts) == 4)
    await asyncio.sleep(0.01)
    house.encoder.tokenizer_gate.set()
    for call in refused:
        with pytest.raises(Overloaded) as caught:
            await call
        assert caught.value.retry_after >= 1
    fits = house.start("d" * 8)
    await house.until_queued(2)
    assert value_of(house.metrics.queued_tokens) == 24
    house.encoder.gate.set()
    await asyncio.gather(busy, waiting, fits)
    assert value_of(house.metrics.queued_tokens) == 0


async def test_alone_a_call_over_the_token_limit_may_enter(
    make_house: Callable[..., House],
) -> None:
    house = make_house(max_queued_tokens=8)
    result = await house.encode("e" * 32, "f" * 32)
    assert codes(result) == [code_of("e" * 32), code_of("f" * 32)]


async def test_codes_are_cached_before_the_caller_is_answered(
    make_house: Callable[..., House],
) -> None:
    may_write = asyncio.Event()

    class SlowCache(CodeCache):
        async def set_many(self, fingerprint: str, stored: dict[bytes, StoredCode]) -> None:
            assert fingerprint == FINGERPRINT
            await may_write.wait()
            await super().set_many(fingerprint, stored)

    house = make_house(SlowCache)
    call = house.start("text")
    await house.until(lambda: value_of(house.metrics.encoder_batches) == 1)
    await asyncio.sleep(0.02)
    assert not call.done()
    may_write.set()
    [answered] = (await call).codes
    assert house.stored("text") == answered == StoredCode(code_of("text"), 4, False)


async def test_a_slow_cache_does_not_hold_the_device(make_house: Callable[..., House]) -> None:
    may_write = asyncio.Event()

    class SlowCache(CodeCache):
        async def set_many(self, fingerprint: str, stored: dict[bytes, StoredCode]) -> None:
            await may_write.wait()

    house = make_house(SlowCache)
    first = house.start("first")
    await house.until(lambda: house.encoder.seen == ["first"])
    second = house.start("second")
    await house.until(lambda: house.encoder.seen == ["first", "second"])
    assert not first.done()
    may_write.set()
    await asyncio.gather(first, second)


@pytest.mark.parametrize(
    "error", [RuntimeError(), OSError(), TimeoutError(), AssertionError(), asyncio.CancelledError()]
)
async def test_whatever_the_cache_raises_waiters_get_their_codes(
    make_house: Callable[..., House], error: BaseException
) -> None:
    class BrokenCache(CodeCache):
        async def set_many(self, fingerprint: str, stored: dict[bytes, StoredCode]) -> None:
            raise error

    assert codes(await make_house(BrokenCache).encode("text")) == [code_of("text")]


async def test_close_finishes_what_is_in_flight(house: House) -> None:
    busy = await house.occupy_device()
    queued = house.start("queued")
    await house.until_queued(1)
    closing = asyncio.create_task(house.batcher.close())
    await asyncio.sleep(0.01)
    assert not await house.batcher.is_up()
    with pytest.raises(EncoderUnavailable, match="shutting down"):
        await house.encode("late")
    house.encoder.gate.set()
    await closing
    assert codes(await busy) == [code_of("#")]
    assert codes(await queued) == [code_of("queued")]


async def test_close_fails_what_does_not_finish_in_time(house: House) -> None:
    busy = await house.occupy_device()
    queued = house.start("queued")
    await house.until_queued(1)
    await house.batcher.close(grace_s=0.01)
    for call in (busy, queued):
        with pytest.raises(EncoderUnavailable, match="shutting down"):
            await call


async def test_close_fails_callers_that_still_wait_for_the_tokenizer(house: House) -> None:
    house.encoder.tokenizer_gate.clear()
    calls = [house.start(text) for text in ("first", "second", "third")]
    await house.until(lambda: bool(house.encoder.tokenized))
    await house.batcher.close(grace_s=0.01)
    house.encoder.tokenizer_gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [EncoderUnavailable] * 3


async def test_close_twice_and_idle(house: House) -> None:
    await house.encode("text")
    await house.batcher.close()
    await house.batcher.close()
    assert not await house.batcher.is_up()


async def test_metrics_count_passes_batches_and_padding(house: House) -> None:
    await house.encode("abc", "abcd", "abc")
    metrics = house.metrics
    assert value_of(metrics.encoder_passes) == 2
    assert value_of(metrics.encoder_batches) == 1
    samples = {s.name: s.value for f in metrics.padding_share.collect() for s in f.samples}
    assert samples["polyhead_padding_share_sum"] == pytest.approx(1 / 8)


async def test_a_storm_of_callers_that_come_and_go(make_house: Callable[..., House]) -> None:
    house = make_house(max_queued_texts=30, max_queued_tokens=400)
    rng = np.random.default_rng(0)
    calls = []
    for _ in range(200):
        texts = ["t" * int(n) for n in rng.integers(1, 33, rng.integers(1, 5))]
        calls.append((texts, house.start(*texts, embeddings=bool(rng.integers(2)))))
        if rng.random() < 0.3:
            calls[int(rng.integers(len(calls)))][1].cancel()
        await asyncio.sleep(0.001 * int(rng.integers(2)))
    ends = await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
    answered = 0
    for (texts, _), end in zip(calls, ends, strict=True):
        if isinstance(end, EncodeResult):
            assert codes(end) == [code_of(text) for text in texts]
            answered += 1
        else:
            assert isinstance(end, Overloaded | asyncio.CancelledError)
    assert answered > 50
