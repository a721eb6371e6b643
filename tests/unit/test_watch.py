"""app.watch: one timer, three ends."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, InvalidField, SlowBody
from app.watch import MIN_BODY_RATE, Watch, parse_timeout

SOON = 0.02


async def ended(watch: Watch, wait_s: float = 20.0) -> object:
    """What a handler that waits is ended with, or None if it is let alone."""
    try:
        await asyncio.sleep(wait_s)
    except asyncio.CancelledError:
        return watch.ended()
    finally:
        watch.stop()
    return None


def make(deadline_s: float = math.inf, *, body_s: float = 60.0, may_cut: bool = True) -> Watch:
    deadline = asyncio.get_running_loop().time() + deadline_s
    return Watch(body_s, deadline, may_cut=may_cut)


async def test_work_ends_at_the_deadline_and_the_task_goes_on() -> None:
    assert isinstance(await ended(make(SOON)), DeadlineExceeded)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.001)


async def test_a_body_that_does_not_come_ends_it() -> None:
    watch = make(body_s=SOON)
    watch.is_reading = True
    assert isinstance(await ended(watch), SlowBody)


async def test_bytes_that_came_give_more_time() -> None:
    watch = make(body_s=SOON)
    watch.is_reading = True
    watch.read = 600 * MIN_BODY_RATE
    assert await ended(watch, SOON * 10) is None


async def test_whoever_does_not_read_is_not_ended_for_its_body() -> None:
    assert await ended(make(body_s=SOON), SOON * 10) is None


async def test_whoever_begins_to_read_late_is_looked_at_again() -> None:
    watch = make(body_s=SOON)
    await asyncio.sleep(SOON * 3)
    watch.is_reading = True
    assert isinstance(await ended(watch), SlowBody)


async def test_what_changes_something_is_not_cut_but_while_its_body_comes() -> None:
    assert await ended(make(SOON, may_cut=False), SOON * 10) is None
    watch = make(SOON, may_cut=False)
    watch.is_reading = True
    assert isinstance(await ended(watch), DeadlineExceeded)


async def test_after_the_stop_nothing_happens() -> None:
    watch = make(SOON)
    watch.stop()
    await asyncio.sleep(SOON * 5)


async def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    watches: list[Watch] = []

    async def handler() -> None:
        watches.append(make(60))
        try:
            await asyncio.sleep(60)
        finally:
            watches[0].stop()

    task = asyncio.ensure_future(handler())
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watches[0].error is None


async def test_both_at_once_stays_cancelled() -> None:
    async def handler() -> object:
        watch = make(60)
        loop = asyncio.get_running_loop()
        loop.call_soon(watch._end, DeadlineExceeded("late"))
        loop.call_soon(task.cancel)
        return await ended(watch)

    task = asyncio.ensure_future(handler())
    assert await task is None


@given(st.integers(1, 10**15 - 1))
def test_milliseconds_are_bounded(value: int) -> None:
    assert 0 < parse_timeout(str(value).encode(), 120.0) <= 120.0
    assert parse_timeout(str(value).encode(), math.inf) == value / 1e3


@given(st.binary(max_size=20).filter(lambda value: not value.isdigit() or len(value) > 15))
def test_anything_else_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_timeout(value, 1.0)
    assert caught.value.param == "x-request-timeout-ms"
