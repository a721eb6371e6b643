"""HTTP/1.1 load: keep-alive connections, one request in flight on each; closed or open loop.

Raw sockets over asyncio's protocols: an ordinary client library costs more than the server that it
measures, and even asyncio's streams cost a tenth of what encoding a short text does.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Requests per second and latencies in milliseconds of one run."""

    connections: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a list of requests, in their order.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, from the moment it was due.
        statuses: of each answer; 0 where the connection broke.
        lates: how long after it was due each request was sent: this process, or its want of a
            free connection, is then a part of what was measured.
    """

    seconds: float
    latencies: list[float]
    statuses: list[int]
    lates: list[float]


@dataclass(frozen=True, slots=True)
class _Request:
    """One request: its number, its bytes, and when it is due; None for at once."""

    number: int
    content: bytes
    due: float | None = None


class _Connection(asyncio.Protocol):
    """Sends one request after another, and says what became of each."""

    def __init__(
        self,
        take: Callable[[], _Request | None],
        answered: Callable[[int, int, float, float], None],
    ) -> None:
        self._take = take
        self._answered = answered
        self._buffer = b""  # a head that is not complete
        self._status = 0
        self._missing = 0  # bytes of the answer's body
        self._waiting: _Request | None = None
        self._begun = self._late = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        elif not self._read_head(data):
            return
        if not self._missing:
            self._note(self._status)
            self.next()

    def _read_head(self, data: bytes) -> bool:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        lower = head.lower()
        start = lower.index(b"content-length: ") + 16
        self._missing = int(lower[start:].split(b"\r\n", 1)[0]) - len(rest)
        self._status = int(head[9:12])
        self._buffer = b""
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._note(0)
        if not self.closed.done():
            self.closed.set_result(None)

    def next(self) -> None:
        """Send the next request when it is due; close when there is none."""
        request = self._waiting = self._take()
        if request is None:
            self._transport.close()
            return
        now = time.perf_counter()
        self._begun = now if request.due is None else request.due
        if self._begun > now:
            asyncio.get_running_loop().call_later(self._begun - now, self._send, request)
        else:
            self._send(request)

    def _send(self, request: _Request) -> None:
        self._late = time.perf_counter() - self._begun
        self._transport.write(request.content)

    def _note(self, status: int) -> None:
        assert self._waiting is not None
        seconds = time.perf_counter() - self._begun
        self._answered(self._waiting.number, status, seconds, self._late)
        self._waiting = None


def post(path: str, body: bytes, host: str = "127.0.0.1") -> bytes:
    """A POST request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def run_load(port: int, request: bytes, *, connections: int, seconds: float) -> LoadResult:
    """Send `request` over and over on some connections for some seconds."""
    latencies: list[float] = []
    errors = 0

    def answered(number: int, status: int, seconds: float, late: float) -> None:
        nonlocal errors
        latencies.append(seconds)
        errors += status != 200

    def requests(started: float) -> Iterator[_Request]:
        for number in itertools.count():
            if time.perf_counter() >= started + seconds:
                return
            yield _Request(number, request)

    elapsed = _event_loop(_drive(port, connections, requests, answered))
    milliseconds = np.array(latencies) * 1e3
    return LoadResult(
        connections=connections,
        requests=len(latencies),
        per_second=round(len(latencies) / elapsed, 1),
        p50_ms=round(float(np.percentile(milliseconds, 50)), 3),
        p99_ms=round(float(np.percentile(milliseconds, 99)), 3),
        errors=errors,
    )


def answer_all(
    port: int, requests: list[bytes], *, connections: int, due: list[float] | None = None
) -> Answered:
    """Send every request once.

    Args:
        port: of the server, on this machine.
        requests: as `post` makes them.
        connections: so many are in flight at most.
        due: seconds from the start, when all connections are open, at which each is sent (an open
            loop, as long as there are connections enough); None to send as fast as answers come.
    """
    count = len(requests)
    latencies, statuses, lates = [0.0] * count, [0] * count, [0.0] * count

    def answered(number: int, status: int, seconds: float, late: float) -> None:
        latencies[number], statuses[number], lates[number] = seconds, status, late

    def plan(started: float) -> Iterator[_Request]:
        for number, content in enumerate(requests):
            yield _Request(number, content, started + due[number] if due is not None else None)

    seconds = _event_loop(_drive(port, connections, plan, answered))
    return Answered(seconds, latencies, statuses, lates)


async def _drive(
    port: int,
    connections: int,
    plan: Callable[[float], Iterator[_Request]],
    answered: Callable[[int, int, float, float], None],
) -> float:
    """Send all that `plan(started)` gives; the seconds that took."""
    loop = asyncio.get_running_loop()
    requests: Iterator[_Request] = iter(())
    is_over = False

    def take() -> _Request | None:
        nonlocal is_over
        request = next(requests, None)
        is_over = request is None
        return request

    async def connect() -> _Connection:
        made = await loop.create_connection(lambda: _Connection(take, answered), "127.0.0.1", port)
        return made[1]

    async def work(connection: _Connection) -> None:
        while True:
            connection.next()
            await connection.closed
            if is_over:
                return
            connection = await connect()  # the server broke the one before

    opened = [await connect() for _ in range(connections)]
    started = time.perf_counter()
    requests = plan(started)
    await asyncio.gather(*(work(connection) for connection in opened))
    return time.perf_counter() - started


def _event_loop(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
