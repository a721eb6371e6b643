"""app.encoding.batcher: joining, batching, leaving; with an encoder that the tests hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.cache.code_cache import CodeCache
from app.cache.keys import StoredCode
from app.encoding.batcher import INLINE_LETTERS
from app.encoding.protocol import EncodeResult
from app.errors import Overloaded
from app.metrics import value_of
from models.packing import BatchRule
from tests.unit.house import BUCKETS, FINGERPRINT, RULE, House, code_of, codes, embedding_of


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


async def test_a_text_done_since_the_caller_looked_is_not_encoded_again(house: House) -> None:
    first = await house.encode("same")
    second = await house.encode("same")
    assert house.encoder.seen == ["same"]
    assert codes(second) == codes(first)
    assert (first.encoded, second.encoded) == (1, 0)
    mixed = await house.encode("new", "same", "newer")
    assert codes(mixed) == [code_of(text) for text in ("new", "same", "newer")]
    assert house.encoder.seen.count("same") == 1
    assert mixed.encoded == 2


async def test_a_text_done_before_is_encoded_again_for_its_embedding(house: House) -> None:
    await house.encode("same")
    result = await house.encode("same", "other", embeddings=True)
    assert result.embeddings is not None
    for text, embedding in zip(("same", "other"), result.embeddings, strict=True):
        assert np.array_equal(embedding, embedding_of(text))
    assert house.encoder.seen.count("same") == 2


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
    for text, embedding in zip(("both", "xyz"), result.embeddings, strict=True):
        assert np.array_equal(embedding, embedding_of(text))


async def test_embeddings_of_duplicates(house: House) -> None:
    result = await house.encode("twin", "twin", embeddings=True)
    assert result.embeddings is not None
    assert len(result.embeddings) == 2
    assert house.encoder.seen == ["twin"]


async def test_batches_respect_the_token_budget_and_one_length(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=replace(RULE, max_tokens=16))
    busy = await house.occupy_device()
    texts = [f"{n:02}" * (1 + n % 8) for n in range(40)] + ["z" * 20, "y" * 21]
    call = house.start(*texts)
    await house.until_queued(len(texts))
    house.encoder.gate.set()
    result = await call
    await busy
    assert codes(result) == [code_of(text) for text in texts]
    for batch, length in house.encoder.runs:
        assert len(batch) * length <= 16 or len(batch) == 1
        assert all(next(b for b in BUCKETS if b >= len(text)) == length for text in batch)
    assert len(house.encoder.passes) < len(texts)


async def test_without_buckets_lengths_mix_within_the_token_budget(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=BatchRule(48, overhead=16))
    busy = await house.occupy_device()
    texts = [f"{n:02}" * (1 + n % 8) for n in range(40)] + ["z" * 20, "y" * 21]
    call = house.start(*texts)
    await house.until_queued(len(texts))
    house.encoder.gate.set()
    result = await call
    await busy
    assert codes(result) == [code_of(text) for text in texts]
    for batch, width in house.encoder.runs:
        assert width == -(-max(map(len, batch)) // 16) * 16  # as wide as its longest, no wider
        assert sum(map(len, batch)) <= 48
    assert any(len(set(map(len, batch))) > 1 for batch in house.encoder.passes)


async def test_short_calls_are_tokenized_on_the_loop_and_long_ones_beside_it(house: House) -> None:
    half = "a" * (INLINE_LETTERS // 2)
    await house.encode(half, "b" * (INLINE_LETTERS // 2))
    await house.encode("c" * INLINE_LETTERS, "d")
    loop = threading.get_ident()
    short, long = house.encoder.tokenized_on
    assert short == loop
    assert long != loop


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


async def test_metrics_count_passes_batches_and_padding(house: House) -> None:
    await house.encode("abc", "abcd", "abc")
    metrics = house.metrics
    assert value_of(metrics.encoder_passes) == 2
    assert value_of(metrics.encoder_batches) == 1
    samples = {s.name: s.value for f in metrics.padding_share.collect() for s in f.samples}
    assert samples["polyhead_padding_share_sum"] == pytest.approx(1 / 8)
    assert value_of(metrics.encoded_tokens) == 7
    assert value_of(metrics.padding_tokens) == 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("window", [0, 8])
@pytest.mark.parametrize("rule", [RULE, BatchRule(64, overhead=16)], ids=["buckets", "mixed"])
@pytest.mark.parametrize("inline_letters", [40, INLINE_LETTERS])
async def test_a_storm_of_callers_that_come_and_go(
    make_house: Callable[..., House],
    monkeypatch: pytest.MonkeyPatch,
    rule: BatchRule,
    window: int,
    workers: int,
    inline_letters: int,
) -> None:
    monkeypatch.setattr("app.encoding.batcher.INLINE_LETTERS", inline_letters)
    house = make_house(
        rule=replace(rule, workers=workers),
        window=window,
        max_queued_texts=30,
        max_queue_ms=5,
    )
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
            assert codes(end) == [house.code_of(text) for text in texts]
            answered += 1
        else:
            assert isinstance(end, Overloaded | asyncio.CancelledError)
    assert answered > 50
