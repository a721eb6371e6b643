"""A closed-loop HTTP/1.1 load generator: keep-alive connections, one request in flight on each.

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
