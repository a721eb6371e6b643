"""Heads applied to the codes of several requests at once.

A small product reads all weights for a few rows; the next request reads them again. So requests
that come to this point in one turn of the event loop are answered by one product. Nobody waits for
that: the product runs as soon as the loop has run what was ready. Answers do not depend on who else
is in it, to the last bit (see `models.head_runtime.exact_grid`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from app.metrics import Tally
from app.tasks.plans import Plan, Written

ALONE_FROM = 64  # rows that fill a product by themselves


class HeadQueue:
    """Collects rows by plan for the length of one turn of the loop.

    Args:
        seconds: where the time of the products is booked.
    """

    def __init__(self, seconds: Tally) -> None:
        self._seconds = seconds
        self._waiting: dict[tuple[int, bool], _Group] = {}

    async def predict(
        self, plan: Plan, codes: Sequence[bytes], with_scores: bool
    ) -> Sequence[Written]:
        """`plan.written(codes, with_scores)`, together with whoever asks the same plan now."""
        if len(codes) >= ALONE_FROM:
            started = time.perf_counter()
            answers = plan.written(codes, with_scores)
            self._seconds.inc(time.perf_counter() - started)
            return answers
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        group = self._waiting.get((id(plan), with_scores))
        if group is None:
            group = self._waiting[(id(plan), with_scores)] = _Group(plan, with_scores)
        return await group.join(codes, loop.create_future())

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, {}
        started = time.perf_counter()
        for group in waiting.values():
            group.answer()
        self._seconds.inc(time.perf_counter() - started)


class _Group:
    """Rows of several callers for one plan, which is held: its id stays its own."""

    def __init__(self, plan: Plan, with_scores: bool) -> None:
        self._plan = plan
        self._with_scores = with_scores
        self._codes: list[bytes] = []
        self._callers: list[tuple[int, asyncio.Future[Sequence[Written]]]] = []

    def join(
        self, codes: Sequence[bytes], future: asyncio.Future[Sequence[Written]]
    ) -> asyncio.Future[Sequence[Written]]:
        self._codes.extend(codes)
        self._callers.append((len(self._codes), future))
        return future

    def answer(self) -> None:
        try:
            answers = self._plan.written(self._codes, self._with_scores)
        except Exception as error:
            for _, future in self._callers:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for stop, future in self._callers:
            if not future.done():
                future.set_result(answers[start:stop])
            start = stop
