"""HTTP/1.1 load: keep-alive connections, one request in flight on each; closed or open loop.

Raw sockets over asyncio: an ordinary client library costs more than the server that it measures.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import numpy as np


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Requests per second and latencies in milliseconds of one run."""

    connections: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, deadline: float, latencies: list[float]) -> None:
        self._request = request
        self._deadline = deadline
        self._latencies = latencies
        self._buffer = b""
        self._sent_at = 0.0
        self.errors = 0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        start = lower.index(b"content-length: ") + 16
        length = int(lower[start:].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent_at)
        if not head.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        self._buffer = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.errors += 1
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


def post(path: str, body: bytes, host: str = "127.0.0.1") -> bytes:
    """A POST request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def _run(port: int, request: bytes, connections: int, seconds: float) -> LoadResult:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    started = time.perf_counter()
    deadline = started + seconds
    opened = [
        (
            await loop.create_connection(
                lambda: _Connection(request, deadline, latencies), "127.0.0.1", port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.closed for connection in opened))
    elapsed = time.perf_counter() - started
    milliseconds = np.array(latencies) * 1e3
    return LoadResult(
        connections=connections,
        requests=len(latencies),
        per_second=round(len(latencies) / elapsed, 1),
        p50_ms=round(float(np.percentile(milliseconds, 50)), 3),
        p99_ms=round(float(np.percentile(milliseconds, 99)), 3),
        errors=sum(connection.errors for connection in opened),
    )


def run_load(port: int, request: bytes, *, connections: int, seconds: float) -> LoadResult:
    """Send `request` over and over on some connections for some seconds."""
    try:
        import uvloop

        return uvloop.run(_run(port, request, connections, seconds))
    except ImportError:
        return asyncio.run(_run(port, request, connections, seconds))


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a list of requests, in their order.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, from the moment it was due.
        statuses: of each answer; 0 where the connection broke.
    """

    seconds: float
    latencies: list[float]
    statuses: list[int]


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    start = lower.index(b"content-length: ") + 16
    await reader.readexactly(int(lower[start:].split(b"\r\n", 1)[0]))
    return int(head[9:12])


async def _answer_all(
    port: int, requests: list[bytes], connections: int, due: list[float] | None
) -> Answered:
    """Closed loop without `due` times; with them, each request waits for its time."""
    latencies, statuses = [0.0] * len(requests), [0] * len(requests)
    waiting = iter(range(len(requests)))
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    started = time.perf_counter()

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in waiting:
            begun = time.perf_counter()
            if due is not None:
                begun = started + due[number]
                await asyncio.sleep(max(0.0, begun - time.perf_counter()))
            try:
                statuses[number] = await _send(reader, writer, requests[number])
            except (OSError, EOFError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            latencies[number] = time.perf_counter() - begun
        writer.close()

    await asyncio.gather(*(work(*connection) for connection in opened))
    return Answered(time.perf_counter() - started, latencies, statuses)


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
    try:
        import uvloop

        return uvloop.run(_answer_all(port, requests, connections, due))
    except ImportError:
        return asyncio.run(_answer_all(port, requests, connections, due))
