"""app.tasks.head_queue: one product for whoever asks in one turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.metrics import Metrics
from app.tasks.head_queue import ALONE_FROM, HeadQueue


class FakePlan:
    """Echoes codes; remembers the sizes of its products."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.error: Exception | None = None

    def written(self, codes: Sequence[bytes], with_scores: bool) -> list[dict[str, Any]]:
        self.sizes.append(len(codes))
        if self.error:
            raise self.error
        return [{"code": code, "scores": with_scores} for code in codes]


async def test_concurrent_callers_share_a_product_and_get_their_own_rows() -> None:
    queue, plan = HeadQueue(Metrics().head_seconds), FakePlan()
    rows = [[b"%d-%d" % (caller, row) for row in range(caller % 3 + 1)] for caller in range(9)]
    answers = await asyncio.gather(*(queue.predict(plan, codes, False) for codes in rows))  # type: ignore[arg-type]
    assert [[one["code"] for one in answer] for answer in answers] == rows
    assert plan.sizes == [sum(map(len, rows))]


async def test_plans_and_kinds_of_answer_are_kept_apart() -> None:
    queue, one, other = HeadQueue(Metrics().head_seconds), FakePlan(), FakePlan()
    asked = [(one, False), (other, False), (one, True), (one, False)]
    answers = await asyncio.gather(*(queue.predict(p, [b"x"], s) for p, s in asked))  # type: ignore[arg-type]
    assert [answer[0]["scores"] for answer in answers] == [False, False, True, False]
    assert (sorted(one.sizes), other.sizes) == ([1, 2], [1])


async def test_many_rows_go_alone() -> None:
    queue, plan = HeadQueue(Metrics().head_seconds), FakePlan()
    await asyncio.gather(
        queue.predict(plan, [b"x"] * ALONE_FROM, False),  # type: ignore[arg-type]
        queue.predict(plan, [b"y"], False),  # type: ignore[arg-type]
    )
    assert plan.sizes == [ALONE_FROM, 1]


async def test_an_error_reaches_every_caller_and_the_next_turn_works() -> None:
    queue, plan = HeadQueue(Metrics().head_seconds), FakePlan()
    plan.error = ValueError("broken")
    both = await asyncio.gather(
        *(queue.predict(plan, [b"x"], False) for _ in range(2)),  # type: ignore[arg-type]
        return_exceptions=True,
    )
    assert [str(error) for error in both] == ["broken", "broken"]
    plan.error = None
    assert len(await queue.predict(plan, [b"x"], False)) == 1  # type: ignore[arg-type]


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    queue, plan = HeadQueue(Metrics().head_seconds), FakePlan()
    leaver = asyncio.ensure_future(queue.predict(plan, [b"a"], False))  # type: ignore[arg-type]
    stayer = asyncio.ensure_future(queue.predict(plan, [b"b"], False))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    leaver.cancel()
    assert (await stayer)[0]["code"] == b"b"
    with pytest.raises(asyncio.CancelledError):
        await leaver
