"""One call on the main path: where its time goes, and whether anybody still waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from app.encoding.protocol import OWN_WORK, Origin
from app.errors import Disconnected

if TYPE_CHECKING:
    from app.tracing import Trace

Result = TypeVar("Result")
STAGES = ("queue", "tokenization", "inference", "cache")
# Most calls are answered sooner: they need not pay for a look at their connection. What a caller
# who left wastes matters when there is a queue, and then calls take longer.
LISTEN_AFTER_S = 0.1


class Call:
    """Seconds by stage, and a guard for work that is worth nothing once the caller has left.

    Args:
        request: the HTTP request behind the call; None for work of our own (training).
        origin: for whom it is, and until when.
    """

    __slots__ = ("_request", "_trace", "origin", "seconds")

    def __init__(self, request: Request | None = None, origin: Origin = OWN_WORK) -> None:
        self._request = request
        self._trace: Trace | None = request.scope.get("trace") if request is not None else None
        self.origin = origin
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, seconds: float, before_s: float = 0.0) -> None:
        """Book time on a stage that ended `before_s` seconds ago (of use to traces alone)."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        if self._trace is not None:
            self._trace.stage(stage, seconds, before_s)

    def headers(self) -> dict[str, str]:
        """Milliseconds, one header a stage; a stage that did not happen took none."""
        return {f"x-{stage}-time": f"{self.seconds.get(stage, 0.0) * 1e3:.3f}" for stage in STAGES}

    async def guarded(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work`; cancel it when the caller hangs up, so that nobody's texts are not encoded.

        Raises:
            Disconnected: the caller hung up.
        """
        caller = asyncio.current_task()
        if self._request is None or caller is None:
            return await work
        # The work stays in the caller's own task: a task of its own costs more than all the rest.
        listener = _Listener(caller, self._request)
        try:
            return await work
        except asyncio.CancelledError:
            if listener.hung_up and caller.uncancel() == 0:
                raise Disconnected("the caller hung up") from None
            raise
        finally:
            listener.stop()


class _Listener:
    """Cancels a task when its request's connection is closed."""

    def __init__(self, caller: asyncio.Task[Any], request: Request) -> None:
        self.hung_up = False
        self._caller = caller
        self._request = request
        self._task: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LISTEN_AFTER_S, self._start)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.hung_up = True
        self._caller.cancel()
