"""app.call: work that ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from app.call import LISTEN_AFTER_S, Call
from app.errors import Disconnected


class Connection:
    """What a server's `receive` gives."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def call(self) -> Call:
        return Call(Request({"type": "http", "headers": []}, self.messages.get))

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


@pytest.fixture
def connection() -> Connection:
    return Connection()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


@pytest.mark.parametrize("own", [True, False])
async def test_the_result_comes_back_and_nothing_is_left(connection: Connection, own: bool) -> None:
    call = Call() if own else connection.call()
    assert await call.guarded(answer(3)) == 3
    await settled()
    assert not others()


async def test_errors_come_back_and_nothing_is_left(connection: Connection) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await connection.call().guarded(fail())
    await settled()
    assert not others()


async def test_who_hangs_up_ends_the_work_and_no_more_than_that(connection: Connection) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    asyncio.get_running_loop().call_later(0.01, connection.hang_up)
    with pytest.raises(Disconnected):
        await connection.call().guarded(work())
    assert ended == [True]
    await asyncio.sleep(0.001)  # the task itself is not cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert not others()


async def test_a_quick_call_does_not_look_at_its_connection(connection: Connection) -> None:
    asked = []

    async def receive() -> dict[str, Any]:
        asked.append(True)
        return await connection.messages.get()

    call = Call(Request({"type": "http", "headers": []}, receive))
    assert await call.guarded(asyncio.sleep(LISTEN_AFTER_S / 10, 3)) == 3
    assert not asked
    assert await call.guarded(asyncio.sleep(LISTEN_AFTER_S * 2, 3)) == 3
    assert asked == [True]
    await settled()
    assert not others()


async def test_other_messages_do_not_end_the_work(connection: Connection) -> None:
    connection.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    work = asyncio.sleep(LISTEN_AFTER_S * 1.5, 5)
    assert await connection.call().guarded(work) == 5
    assert connection.messages.empty()


async def test_a_hang_up_after_the_work_cancels_nothing(connection: Connection) -> None:
    assert await connection.call().guarded(answer(3)) == 3
    connection.hang_up()
    await settled()


async def test_a_hang_up_at_the_very_end_of_the_work(connection: Connection) -> None:
    async def work() -> int:
        connection.hang_up()
        return 3

    assert await connection.call().guarded(work()) == 3
    await settled()


async def test_a_cancelled_caller_stays_cancelled(connection: Connection) -> None:
    task = asyncio.ensure_future(connection.call().guarded(asyncio.Event().wait()))
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled()
    assert not others()


async def test_cancelled_and_hung_up_is_cancelled(connection: Connection) -> None:
    task = asyncio.ensure_future(connection.call().guarded(asyncio.Event().wait()))
    await settled()
    connection.hang_up()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
