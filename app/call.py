"""One call on the main path: where its time goes, and whether anybody still waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.errors import Disconnected

Result = TypeVar("Result")
STAGES = ("queue", "tokenization", "inference", "cache")


class Call:
    """Seconds by stage, and a guard for work that is worth nothing once the caller has left.

    Args:
        request: the HTTP request behind the call; None for work of our own (training).
    """

    __slots__ = ("_request", "seconds")

    def __init__(self, request: Request | None = None) -> None:
        self._request = request
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        """Book time on a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def headers(self) -> dict[str, str]:
        """Milliseconds, one header a stage; a stage that did not happen took none."""
        return {f"x-{stage}-time": f"{self.seconds.get(stage, 0.0) * 1e3:.3f}" for stage in STAGES}

    async def guarded(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work`; cancel it when the caller hangs up, so that nobody's texts are not encoded.

        Raises:
            Disconnected: the caller hung up.
        """
        if self._request is None:
            return await work
        task = asyncio.ensure_future(work)
        listener = asyncio.ensure_future(_disconnected(self._request))
        try:
            await asyncio.wait({task, listener}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Disconnected("the caller hung up")
            return task.result()
        finally:
            listener.cancel()
            task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
