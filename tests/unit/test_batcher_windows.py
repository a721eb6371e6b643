"""app.encoding.batcher: several workers, and texts of several windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.cache.keys import StoredCode
from app.errors import EncoderUnavailable
from app.metrics import value_of
from models.packing import BatchRule
from tests.unit.house import RULE, House, code_of, codes

ONE_A_BATCH = BatchRule(8, buckets=(4, 8, 16, 32))
LONG = "abcdefgh" + "ijklmnop" + "qrst"  # three windows of eight, the last one shorter
MIXED = BatchRule(64, overhead=16)


async def test_workers_run_batches_at_the_same_time(make_house: Callable[..., House]) -> None:
    house = make_house(rule=replace(ONE_A_BATCH, workers=2))
    house.encoder.gate.clear()
    calls = [house.start(text * 8) for text in "abc"]
    await house.until(lambda: len(house.encoder.passes) == 2)  # neither has ended
    await house.until_queued(1)
    assert house.batcher._free_workers == 0
    house.encoder.gate.set()
    results = await asyncio.gather(*calls)
    assert [codes(result) for result in results] == [[code_of(text * 8)] for text in "abc"]
    assert sorted(house.encoder.seen) == ["a" * 8, "b" * 8, "c" * 8]


async def test_a_failed_pass_takes_no_worker_away(make_house: Callable[..., House]) -> None:
    house = make_house(rule=replace(ONE_A_BATCH, workers=2))
    house.encoder.poison = {"a" * 8, "b" * 8}
    for text in ("a" * 8, "b" * 8):
        with pytest.raises(EncoderUnavailable):
            await house.encode(text)
    house.encoder.gate.clear()
    calls = [house.start(text * 8) for text in "cd"]
    await house.until(lambda: {"c" * 8, "d" * 8} <= set(house.encoder.seen))
    house.encoder.gate.set()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rule", [RULE, MIXED, ONE_A_BATCH], ids=["buckets", "mixed", "alone"])
async def test_a_text_of_several_windows_gets_one_code_and_counts_once(
    make_house: Callable[..., House], rule: BatchRule, workers: int
) -> None:
    house = make_house(rule=replace(rule, workers=workers), window=8)
    result = await house.encode(LONG)
    assert sorted(house.encoder.seen) == ["abcdefgh", "ijklmnop", "qrst"]
    assert result.codes == [StoredCode(house.code_of(LONG), 20, False)]
    assert house.stored(LONG) == result.codes[0]
    assert result.encoded == 1
    assert result.embeddings is None
    assert value_of(house.metrics.encoder_passes) == 1
    assert value_of(house.metrics.encoded_tokens) == 20
    if rule is ONE_A_BATCH:
        assert value_of(house.metrics.encoder_batches) == 3


async def test_the_code_of_windows_is_not_that_of_one_of_them(
    make_house: Callable[..., House],
) -> None:
    house = make_house(window=8)
    [stored] = (await house.encode(LONG)).codes
    assert stored.code not in {code_of(part) for part in (*house.encoder.parts(LONG), LONG)}


@pytest.mark.parametrize("rule", [RULE, MIXED, ONE_A_BATCH], ids=["buckets", "mixed", "alone"])
async def test_embeddings_of_windows_are_pooled(
    make_house: Callable[..., House], rule: BatchRule
) -> None:
    house = make_house(rule=rule, window=8)
    result = await house.encode(LONG, "short", embeddings=True)
    assert codes(result) == [house.code_of(LONG), code_of("short")]
    assert result.embeddings is not None
    for text, embedding in zip((LONG, "short"), result.embeddings, strict=True):
        np.testing.assert_allclose(embedding, house.embedding_of(text), rtol=1e-6)


async def test_windows_that_run_last_first_are_pooled_with_their_own_weights(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=BatchRule(8, buckets=(1, 8)), window=8)
    busy = await house.occupy_device()
    text = "ab" + "x" * 14  # as windows: eight, eight
    odd = "cdefghij" + "k"  # eight and one
    call = house.start("z", odd, text)
    await house.until_queued(5)
    house.encoder.gate.set()
    assert codes(await call) == [code_of("z"), house.code_of(odd), house.code_of(text)]
    await busy
    assert house.encoder.seen.index("k") < house.encoder.seen.index("cdefghij")


async def test_windows_and_whole_texts_share_batches(make_house: Callable[..., House]) -> None:
    house = make_house(rule=MIXED, window=8)
    busy = await house.occupy_device()
    texts = [chr(ord("a") + n) * (1 + 3 * n % 40) for n in range(24)]
    call = house.start(*texts)
    windows = [part for text in texts for part in house.encoder.parts(text)]
    await house.until_queued(len(windows))
    house.encoder.gate.set()
    result = await call
    await busy
    assert codes(result) == [house.code_of(text) for text in texts]
    assert [one.tokens for one in result.codes] == [len(text) for text in texts]
    assert sorted(house.encoder.seen) == sorted(["#", *windows])
    assert value_of(house.metrics.encoder_passes) == len(texts) + 1
    assert value_of(house.metrics.encoded_tokens) == sum(map(len, texts)) + 1
    whole = {text for text in texts if len(text) <= 8}
    assert any(whole & set(batch) and set(batch) - whole for batch in house.encoder.passes)


async def test_the_windows_of_one_text_are_joined_as_one(make_house: Callable[..., House]) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    house.encoder.gate.clear()
    first = house.start(LONG)
    await house.until_queued(2)
    second = house.start(LONG)
    await asyncio.sleep(0.01)
    assert value_of(house.metrics.queued_texts) == 1
    house.encoder.gate.set()
    assert codes(await first) == codes(await second) == [house.code_of(LONG)]
    assert len(house.encoder.seen) == 3
    assert (await second).encoded == 0


async def test_who_leaves_while_some_windows_run_drops_the_rest(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    house.encoder.gate.clear()
    leaving = house.start(LONG)
    await house.until_queued(2)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert len(house.batcher._queue) == house.batcher._queue.tokens == 0
    assert value_of(house.metrics.queued_texts) == 0
    house.encoder.gate.set()
    await house.until(house.idle)
    assert house.encoder.seen == ["abcdefgh"]
    assert house.stored(LONG) is None
    assert codes(await house.encode(LONG)) == [house.code_of(LONG)]
    assert len(house.encoder.seen) == 4  # all of it anew


async def test_a_text_that_comes_back_while_a_dropped_window_runs_starts_anew(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    house.encoder.gate.clear()
    leaving = house.start(LONG)
    await house.until_queued(2)
    leaving.cancel()
    await asyncio.wait([leaving])
    back = house.start(LONG)
    await house.until_queued(3)
    house.encoder.gate.set()
    [stored] = (await back).codes
    assert stored == StoredCode(house.code_of(LONG), 20, False)
    assert house.encoder.seen.count("abcdefgh") == 2


async def test_who_leaves_one_of_two_keeps_the_windows_for_the_other(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    house.encoder.gate.clear()
    leaving, staying = house.start(LONG), house.start(LONG)
    await house.until_queued(2)
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert len(house.batcher._queue) == 2
    house.encoder.gate.set()
    assert codes(await staying) == [house.code_of(LONG)]


async def test_a_text_whose_windows_all_run_is_cached_though_nobody_waits(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=replace(ONE_A_BATCH, workers=3), window=8)
    house.encoder.gate.clear()
    leaving = house.start(LONG)
    await house.until(lambda: len(house.encoder.passes) == 3)
    leaving.cancel()
    await asyncio.wait([leaving])
    house.encoder.gate.set()
    await house.until(house.idle)
    assert house.stored(LONG) == StoredCode(house.code_of(LONG), 20, False)


@pytest.mark.parametrize("bad", [0, 1, 2])
async def test_one_failing_window_fails_its_text_and_drops_the_rest(
    make_house: Callable[..., House], bad: int
) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    parts = house.encoder.parts(LONG)
    house.encoder.poison = {parts[bad]}
    with pytest.raises(EncoderUnavailable, match="RuntimeError"):
        await house.encode(LONG)
    await house.until(house.idle)
    assert house.stored(LONG) is None
    assert house.encoder.seen == parts[: bad + 1]
    house.encoder.poison = set()
    assert codes(await house.encode(LONG)) == [house.code_of(LONG)]


async def test_two_failing_windows_give_back_one_permit(make_house: Callable[..., House]) -> None:
    house = make_house(rule=replace(ONE_A_BATCH, workers=3), window=8)
    house.encoder.poison = set(house.encoder.parts(LONG))
    house.encoder.gate.clear()
    call, joined = house.start(LONG), house.start(LONG)
    await house.until(lambda: len(house.encoder.passes) == 3)
    other = house.start("other")
    await house.until_queued(1)
    assert value_of(house.metrics.queued_texts) == 2
    house.encoder.gate.set()
    for one in (call, joined):
        with pytest.raises(EncoderUnavailable):
            await one
    assert codes(await other) == [code_of("other")]
    await house.until(house.idle)  # two permits taken, two given back


async def test_a_failing_window_fails_the_batch_mates_and_no_one_else(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=RULE, window=8)
    house.encoder.poison = {"qrst"}
    busy = await house.occupy_device()
    calls = [house.start(LONG), house.start("mate"), house.start("far away")]
    await house.until_queued(5)
    house.encoder.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    await busy
    assert [type(result) for result in results[:2]] == [EncoderUnavailable] * 2
    assert not isinstance(results[2], BaseException)
    assert codes(results[2]) == [code_of("far away")]


async def test_queued_windows_count_their_tokens(make_house: Callable[..., House]) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    busy = await house.occupy_device()
    call = house.start(LONG)
    await house.until_queued(3)
    assert value_of(house.metrics.queued_tokens) == 8 + 8 + 4
    house.encoder.gate.set()
    await asyncio.gather(busy, call)
    assert value_of(house.metrics.queued_tokens) == 0


async def test_close_fails_a_text_with_windows_left_over(make_house: Callable[..., House]) -> None:
    house = make_house(rule=ONE_A_BATCH, window=8)
    house.encoder.gate.clear()
    call = house.start(LONG)
    await house.until_queued(2)
    await house.batcher.close(grace_s=0.01)
    with pytest.raises(EncoderUnavailable, match="shutting down"):
        await call
    assert len(house.batcher._queue) == 0
    assert len(house.encoder.seen) == 1
