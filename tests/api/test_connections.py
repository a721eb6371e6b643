"""What a connection can send at its worst: headers without end, bodies that do not come."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ServiceProcess

POST = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that waits half a second for heads and bodies."""
    process = ServiceProcess(
        "all",
        tmp_path_factory.mktemp("impatient"),
        POLYHEAD_HEAD_TIMEOUT_S="0.5",
        POLYHEAD_BODY_TIMEOUT_S="0.5",
    ).start()
    yield process
    process.stop()


def exchange(service: ServiceProcess, *parts: bytes) -> bytes:
    """All that comes back until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return received


def check(received: bytes, status: int, code: str) -> None:
    """The contract's error, unless the system dropped it with what we were still sending."""
    if not received:
        return
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize(
    "parts",
    [
        [POST, *[b"x-%d: y\r\n" % n for n in range(200)], b"\r\n"],
        [POST + b"".join(b"x-%d: y\r\n" % n for n in range(200)) + b"\r\n"],
        [POST, b"x: ", *[b"y" * 10_000] * 100],
        [POST, b"y" * 1_000_000, b": 1\r\n\r\n"],
        [b"GET /", *[b"a" * 10_000] * 100, b" HTTP/1.1\r\n\r\n"],
        [POST, b"".join(b"x: " + b"y" * 1000 + b"\r\n" for _ in range(100)), b"\r\n"],
    ],
    ids=["many", "many at once", "one long", "long name", "long path", "long together"],
)
def test_header_floods_are_refused(service: ServiceProcess, parts: list[bytes]) -> None:
    check(exchange(service, *parts), 431, "headers_too_large")
    assert service.http.get("/health").status_code == 200


def test_ordinary_headers_pass(service: ServiceProcess) -> None:
    headers = {f"x-{number}": "y" * 200 for number in range(50)}
    assert service.http.get("/health", headers=headers).status_code == 200


def test_what_is_no_http_gets_the_contracts_error(service: ServiceProcess) -> None:
    check(exchange(service, b"\x00\x01\x02\r\n\r\n"), 400, "bad_http")


def test_slow_headers_are_not_waited_for(impatient: ServiceProcess) -> None:
    received = exchange(impatient, POST)  # and no more
    assert received
    check(received, 408, "headers_timeout")


def test_a_connection_that_says_nothing_is_closed(impatient: ServiceProcess) -> None:
    assert exchange(impatient) == b""


def test_a_second_request_whose_headers_are_slow_is_not_waited_for(
    impatient: ServiceProcess,
) -> None:
    received = exchange(impatient, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /hea")
    assert received.startswith(b"HTTP/1.1 200")
    if b"HTTP/1.1 4" in received:
        check(received[received.index(b"HTTP/1.1 4") :], 408, "headers_timeout")


@pytest.mark.parametrize("path", [b"/v1/predict", b"/v1/tasks/emotion/versions"])
def test_a_body_that_does_not_come_is_not_waited_for(
    impatient: ServiceProcess, path: bytes
) -> None:
    head = b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    received = exchange(impatient, head, b'{"inputs": "a')
    assert received
    check(received, 408, "body_timeout")
    assert "body_timeout" in impatient.http.get("/metrics").text


def test_a_body_in_small_pieces_is_cut_at_the_limit(service: ServiceProcess) -> None:
    def chunks() -> Iterator[bytes]:
        yield POST + b"transfer-encoding: chunked\r\n\r\n"
        for _ in range(1000):
            yield b"4000\r\n" + b"a" * 0x4000 + b"\r\n"  # 16 MB, where 8 are let in

    check(exchange(service, *chunks()), 413, "body_too_large")


def test_a_patient_service_lets_a_slow_body_in(
    processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    """The time for a body is for all of it, not for each piece: pieces a while apart are fine."""
    import time

    service = processes("all", tmp_path)
    body = json.dumps({"inputs": "in pieces", "tasks": ["emotion"]}).encode()
    head = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head)
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
