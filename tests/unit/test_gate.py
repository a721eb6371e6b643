"""app.gate in uvicorn's protocol: refused requests leave the connection as it should be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn import Config, Server

from app.connection import bounded
from app.gate import Gate
from app.metrics import Metrics
from tests.conftest import free_port

BODY = b'{"inputs": "x"}'
HEAD = b"POST /v1/predict?a=1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)


class Shut(Gate):
    """A gate that is shut whatever the loop does."""

    def is_shut(self, loop: asyncio.AbstractEventLoop, in_progress: int) -> bool:
        return True


async def application(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"fine"})


@asynccontextmanager
async def connection(
    metrics: Metrics, head_timeout_s: float = 20.0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    protocol = bounded(head_timeout_s, Shut(metrics, ["/v1/predict"], 1.0))
    port = free_port()
    config = Config(application, port=port, http=protocol, lifespan="off", log_config=None)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await task


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), head, await reader.readexactly(length)


@pytest.mark.parametrize("pieces", [[HEAD + b"\r\n" + BODY], [HEAD, b"\r\n", BODY[:3], BODY[3:]]])
async def test_the_connection_goes_on_after_a_refusal(pieces: Iterable[bytes]) -> None:
    metrics = Metrics()
    async with connection(metrics) as (reader, writer):
        for _ in range(2):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.02)
            status, head, body = await answer(reader)
            assert status == 429
            assert b"x-request-id: " in head
            assert json.loads(body)["error"]["code"] == "overloaded"
        writer.write(b"GET /v1/predict HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
    assert metrics.unread.value == 2


async def test_requests_sent_together_are_answered_in_order() -> None:
    async with connection(Metrics()) as (reader, writer):
        one = HEAD + b"\r\n" + BODY
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" + one + one)
        # The first is not answered yet when the others come: a refusal would get before it.
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 200]


async def test_a_connection_that_is_to_be_closed_is() -> None:
    async with connection(Metrics()) as (reader, writer):
        writer.write(HEAD + b"connection: close\r\n\r\n" + BODY)
        assert (await answer(reader))[0] == 429
        assert await reader.read() == b""


async def test_a_body_that_does_not_come_ends_the_connection() -> None:
    async with connection(Metrics(), head_timeout_s=0.1) as (reader, writer):
        writer.write(HEAD + b"\r\n" + BODY[:3])
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_refused_request_is_not_held_in_memory_while_its_body_comes() -> None:
    async with connection(Metrics()) as (reader, writer):
        size = 4 * 1024 * 1024
        writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()
        assert (await answer(reader))[0] == 429
