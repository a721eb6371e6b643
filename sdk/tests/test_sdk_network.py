"""Over real sockets: what httpx raises, and that it is understood."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading

import pytest

import polyhead

OK = json.dumps({"a": 1}).encode()


def reply(status: str, body: bytes = OK, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@contextlib.contextmanager
def server(*answers: bytes | None):
    """Gives one answer a connection, then hangs up; None never answers. Yields url and log."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()
    log = []

    def serve():
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                log.append(connection.recv(65536))
                if answer is None:
                    done.wait(5)
                else:
                    connection.sendall(answer)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", log
    finally:
        done.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.fixture(params=["sync", "async"])
def info(request):
    """Calls `info()` of a client made with these settings."""

    def call(**settings):
        if request.param == "sync":
            with polyhead.Client(**settings) as client:
                return client.info()

        async def main():
            async with polyhead.AsyncClient(**settings) as client:
                return await client.info()

        return asyncio.run(main())

    return call


def test_a_real_answer(info):
    with server(reply("200 OK")) as (url, log):
        assert info(base_url=url, api_key="secret") == {"a": 1}
    assert log[0].startswith(b"GET /info HTTP/1.1\r\n")
    assert b"authorization: bearer secret" in log[0].lower()


def test_a_refusal_and_a_broken_connection_are_tried_again(info):
    busy = reply("503 Service Unavailable", b"", "Retry-After: 0", "Connection: close")
    with server(busy, b"", reply("200 OK")[:-2], reply("200 OK")) as (url, log):
        assert info(base_url=url) == {"a": 1}
    assert len(log) == 4


def test_nobody_listens(info):
    with server() as (url, _):
        pass
    with pytest.raises(polyhead.ServiceUnreachable, match="GET /info: "):
        info(base_url=url, max_retries=1)


def test_no_answer_in_time(info):
    with server(None) as (url, log):
        with pytest.raises(polyhead.Timeout):
            info(base_url=url, timeout=0.1)
        assert len(log) == 1


def test_garbage(info):
    with server(b"SSH-2.0-x\r\n\r\n") as (url, _), pytest.raises(polyhead.ServiceUnreachable):
        info(base_url=url, max_retries=0)
    broken = reply("200 OK", b"no gzip", "Content-Encoding: gzip")
    with server(broken) as (url, _), pytest.raises(polyhead.ProtocolError):
        info(base_url=url)
