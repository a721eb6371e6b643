"""app.watch: a body that does not come, a deadline that is over, and neither."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import watch as module
from app.errors import DeadlineExceeded, InvalidField, SlowBody
from app.watch import MIN_BODY_RATE, Watch, Watches, parse_timeout

SOON = 0.02


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", SOON / 2)


@pytest.fixture
def watches() -> Watches:
    return Watches()


class Made:
    """A watch of the current task, looked at by `watches`."""

    def __init__(
        self,
        watches: Watches,
        deadline_s: float = math.inf,
        *,
        body_s: float = 60.0,
        may_cut: bool = True,
        timer: bool = False,
    ) -> None:
        now = asyncio.get_running_loop().time()
        self.watches = watches
        self.watch = Watch(now, body_s, now + deadline_s, may_cut=may_cut)
        watches.add(self.watch, now + deadline_s if timer else None)

    async def ended(self, wait_s: float = 20.0) -> object:
        """What a handler that waits is ended with, or None if it is let alone."""
        try:
            await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            return self.watch.ended()
        finally:
            self.watches.remove(self.watch)
        return None


@pytest.mark.parametrize("timer", [True, False])
async def test_work_ends_at_the_deadline_and_the_task_goes_on(
    watches: Watches, timer: bool
) -> None:
    assert isinstance(await Made(watches, SOON, timer=timer).ended(), DeadlineExceeded)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.001)


async def test_a_timer_does_not_wait_for_the_next_look(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 3600)
    assert isinstance(await Made(watches, SOON, timer=True).ended(), DeadlineExceeded)


async def test_a_body_that_does_not_come_ends_it(watches: Watches) -> None:
    made = Made(watches, body_s=SOON)
    made.watch.is_reading = True
    assert isinstance(await made.ended(), SlowBody)


async def test_bytes_that_came_give_more_time(watches: Watches) -> None:
    made = Made(watches, body_s=SOON)
    made.watch.is_reading = True
    made.watch.read = 600 * MIN_BODY_RATE
    assert await made.ended(SOON * 10) is None


async def test_whoever_does_not_read_is_not_ended_for_its_body(watches: Watches) -> None:
    assert await Made(watches, body_s=SOON).ended(SOON * 10) is None


async def test_whoever_begins_to_read_late_is_ended_then(watches: Watches) -> None:
    made = Made(watches, body_s=SOON)
    await asyncio.sleep(SOON * 3)
    made.watch.is_reading = True
    assert isinstance(await made.ended(), SlowBody)


async def test_what_changes_something_is_not_cut_but_while_its_body_comes(
    watches: Watches,
) -> None:
    assert await Made(watches, SOON, may_cut=False, timer=True).ended(SOON * 10) is None
    made = Made(watches, SOON, may_cut=False)
    made.watch.is_reading = True
    assert isinstance(await made.ended(), DeadlineExceeded)


async def test_after_the_end_nothing_happens_and_nobody_looks(watches: Watches) -> None:
    made = Made(watches, SOON, timer=True)
    watches.remove(made.watch)
    await asyncio.sleep(SOON * 5)
    assert not watches._is_looking
    assert isinstance(await Made(watches, SOON).ended(), DeadlineExceeded)  # it begins again


async def test_one_is_ended_and_the_others_go_on(watches: Watches) -> None:
    async def handler(deadline_s: float) -> object:
        return await Made(watches, deadline_s).ended(SOON * 10)

    late, fine = await asyncio.gather(handler(SOON), handler(60))
    assert isinstance(late, DeadlineExceeded)
    assert fine is None


async def test_who_is_cancelled_by_somebody_else_stays_cancelled(watches: Watches) -> None:
    async def handler() -> object:
        return await Made(watches).ended()

    task = asyncio.ensure_future(handler())
    await asyncio.sleep(0.001)
    task.cancel()
    assert await task is None  # not our error: the envelope lets the cancellation on


async def test_both_at_once_stays_cancelled(watches: Watches) -> None:
    async def handler() -> object:
        made = Made(watches)
        loop = asyncio.get_running_loop()
        loop.call_soon(made.watch._end, DeadlineExceeded("late"))
        loop.call_soon(task.cancel)
        return await made.ended()

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
