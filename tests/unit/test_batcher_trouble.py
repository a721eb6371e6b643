"""app.encoding.batcher: failures, refusals and the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.cache.code_cache import CodeCache
from app.cache.keys import StoredCode
from app.errors import EncoderUnavailable, Overloaded
from app.metrics import value_of
from models.packing import BatchRule
from models.tokens import Tokens
from tests.unit.house import BUCKETS, PATIENCE_S, House, code_of, codes


@pytest.fixture
def on_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a call is, it is tokenized beside the event loop."""
    monkeypatch.setattr("app.encoding.batcher.INLINE_LETTERS", -1)


@pytest.mark.usefixtures("on_thread")
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
    # Of another bucket, so of another pass; that was on its way when the first one failed.
    await house.until(lambda: house.stored("good" * 5) is not None)


@pytest.mark.usefixtures("on_thread")
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


BROKEN = [
    pytest.param(lambda texts: [], id="no row"),
    pytest.param(lambda texts: [one_window(1)] * (len(texts) - 1), id="a row too few"),
    pytest.param(lambda texts: [one_window(BUCKETS[-1] + 1)] * len(texts), id="too long"),
]


def one_window(length: int) -> Tokens:
    return Tokens((np.zeros(length, dtype=np.int32),), truncated=False)


@pytest.mark.usefixtures("on_thread")
@pytest.mark.parametrize("tokenize", BROKEN)
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


@pytest.mark.usefixtures("on_thread")
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


@pytest.mark.usefixtures("on_thread")
async def test_a_late_call_is_refused_with_those_who_joined_it(
    make_house: Callable[..., House],
) -> None:
    house = make_house(max_queue_ms=10)
    house.batcher._admission.record(1000, 1.0)  # ten tokens may be ahead of the shortest
    busy = await house.occupy_device()
    waiting = house.start("a" * 32, "b" * 32, "e" * 32)
    await house.until_queued(3)
    house.encoder.tokenizer_gate.clear()
    refused = [house.start("c", "d"), house.start("d")]
    await house.until(lambda: value_of(house.metrics.queued_texts) == 6)
    await asyncio.sleep(0.01)
    house.encoder.tokenizer_gate.set()
    for call in refused:
        with pytest.raises(Overloaded) as caught:
            await call
        assert caught.value.retry_after >= 1
    fits = house.start("f" * 32)
    await house.until(lambda: value_of(house.metrics.queued_tokens) == 4 * 32)
    house.encoder.gate.set()
    await asyncio.gather(busy, waiting, fits)
    assert value_of(house.metrics.queued_tokens) == 0


async def test_a_late_call_is_refused_before_it_is_tokenized(
    make_house: Callable[..., House],
) -> None:
    house = make_house(max_queue_ms=1)
    busy = await house.occupy_device()
    waiting = [house.start(text) for text in "abcdefgh"]
    await house.until_queued(8)
    house.batcher._admission.record(1000, 1.0)
    with pytest.raises(Overloaded):
        await house.encode("late")
    assert ["late"] not in house.encoder.tokenized
    assert value_of(house.metrics.queued_texts) == 9
    house.encoder.gate.set()
    await asyncio.gather(busy, *waiting)


async def test_alone_a_call_of_any_size_may_enter(make_house: Callable[..., House]) -> None:
    house = make_house(max_queue_ms=1)
    house.batcher._admission.record(1, 1.0)
    result = await house.encode("e" * 32, "f" * 32)
    assert codes(result) == [code_of("e" * 32), code_of("f" * 32)]


async def test_a_new_call_does_not_wait_for_all_of_a_large_one(
    make_house: Callable[..., House],
) -> None:
    house = make_house(rule=BatchRule(4, buckets=(4, 8, 16, 32)))
    busy = await house.occupy_device()
    large = house.start(*(f"{n:03}" for n in range(50)))
    await house.until_queued(50)
    small = house.start("one")
    await house.until_queued(51)
    house.encoder.gate.set()
    await small
    assert len(house.encoder.passes) < 6
    await asyncio.gather(busy, large)


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
    assert not house.batcher.is_up()
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


@pytest.mark.usefixtures("on_thread")
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
    assert not house.batcher.is_up()


@pytest.mark.parametrize("tokenize", BROKEN)
async def test_a_broken_tokenizer_fails_a_short_call(
    house: House, monkeypatch: pytest.MonkeyPatch, tokenize: Callable[..., Any]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(house.encoder, "tokenize", tokenize)
        with pytest.raises(EncoderUnavailable):
            await house.encode("a", "b")
        assert house.idle()
    assert codes(await house.encode("a")) == [code_of("a")]


async def test_a_failing_tokenizer_fails_a_short_call_and_the_next_call_works(
    house: House,
) -> None:
    house.encoder.untokenizable = {"b"}
    with pytest.raises(EncoderUnavailable, match="ValueError") as caught:
        await house.encode("a", "b")
    assert "secret" not in caught.value.message
    assert codes(await house.encode("a")) == [code_of("a")]


async def test_a_short_call_that_is_late_leaves_nothing(make_house: Callable[..., House]) -> None:
    house = make_house(max_queue_ms=10)
    house.batcher._admission.record(1000, 1.0)
    busy = await house.occupy_device()
    waiting = house.start("a" * 32, "b" * 32, "e" * 32)
    await house.until_queued(3)
    with pytest.raises(Overloaded):
        await house.encode("c", "d")
    assert value_of(house.metrics.queued_texts) == 4
    house.encoder.gate.set()
    await asyncio.gather(busy, waiting)
    assert house.stored("c") is house.stored("d") is None


async def test_close_does_not_wait_for_a_cache_that_hangs(
    make_house: Callable[..., House],
) -> None:
    class HangingCache(CodeCache):
        async def set_many(self, fingerprint: str, stored: dict[bytes, StoredCode]) -> None:
            await asyncio.Event().wait()

    house = make_house(HangingCache)
    call = house.start("text")
    await house.until(lambda: value_of(house.metrics.encoder_batches) == 1)
    await house.batcher.close(grace_s=0.01)
    with pytest.raises(EncoderUnavailable, match="shutting down"):
        await call
    assert house.idle()


@pytest.mark.parametrize("overhead", [0, 16])
async def test_a_text_of_no_tokens_is_answered(
    make_house: Callable[..., House], overhead: int
) -> None:
    """Not every tokenizer puts special tokens around a text."""
    house = make_house(rule=BatchRule(64, overhead))
    assert codes(await house.encode("")) == [code_of("")]
    assert codes(await house.encode("", "ab")) == [code_of(""), code_of("ab")]


async def test_a_device_that_takes_no_work_fails_it_and_is_free_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As out of memory: before this was seen, the texts waited for ever and the worker was lost."""
    workers = house.batcher._workers
    submit = workers.submit

    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(workers, "submit", no_memory)
    for _ in range(3):
        with pytest.raises(EncoderUnavailable, match="MemoryError"):
            await house.encode("a")
    monkeypatch.setattr(workers, "submit", submit)
    assert codes(await house.encode("a")) == [code_of("a")]


async def test_a_failure_after_the_pass_is_told_to_its_waiters(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("app.encoding.batcher._finished", no_memory)
        with pytest.raises(EncoderUnavailable, match="MemoryError"):
            await house.encode("a")
    assert codes(await house.encode("a")) == [code_of("a")]


async def test_the_threads_run_before_there_is_work(house: House) -> None:
    """There may be no memory for a thread later."""
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("tokenizer") for name in names) >= 1
    assert sum(name.startswith("device") for name in names) >= 1
