"""Sends many requests at bounded concurrency; the first failure stops the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
C = TypeVar("C")


def run_threads(send: Callable[[C, threading.Event], T], calls: Sequence[C], limit: int) -> list[T]:
    """Send from a pool of threads, at most `limit` at once.

    Args:
        send: Sends one; it should give up waiting when the event is set.
        calls: What to send, at least one.
        limit: How many at once.

    Returns:
        The results, in the order of the calls.

    Raises:
        BaseException: What failed first. No request is begun after it, those waiting to try again
            give up, and those in flight have ended.
    """
    stop = threading.Event()
    if len(calls) == 1:
        return [send(calls[0], stop)]
    failures: list[BaseException] = []

    def work(call: C) -> T:
        if stop.is_set():
            raise CancelledError
        try:
            return send(call, stop)
        except BaseException as error:
            failures.append(error)
            stop.set()
            raise

    pool = ThreadPoolExecutor(min(limit, len(calls)), thread_name_prefix="polyhead")
    try:
        futures = [pool.submit(work, call) for call in calls]
        wait(futures)
    except BaseException:
        # An interrupt: let go at once, without waiting for what is in flight.
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    if failures:
        raise failures[0]
    return [future.result() for future in futures]


async def run_tasks(send: Callable[[C], Awaitable[T]], calls: Sequence[C], limit: int) -> list[T]:
    """Send from asyncio tasks, at most `limit` at once.

    Args:
        send: Sends one.
        calls: What to send, at least one.
        limit: How many at once.

    Returns:
        The results, in the order of the calls.

    Raises:
        BaseException: What failed first. All the others were cancelled, in flight or not.
    """
    if len(calls) == 1:
        return [await send(calls[0])]
    gate = asyncio.Semaphore(limit)

    async def work(call: C) -> T:
        async with gate:
            return await send(call)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(call)) for call in calls]
    except BaseExceptionGroup as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
    return [task.result() for task in tasks]
