"""Cached texts beyond what the event loop can answer: refused unread, in the contract's form."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ServiceProcess

Start = Callable[..., ServiceProcess]
TEXTS = [f"text number {number} of a large request" for number in range(64)]
CONNECTIONS = 300
ROUNDS = 4
Answer = tuple[int, dict[str, str], bytes]


def post(path: str = "/v1/predict", extra: str = "") -> bytes:
    body = json.dumps({"inputs": TEXTS}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def ask(port: int, requests: list[bytes]) -> list[Answer]:
    """Requests on one connection, one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for request in requests:
        writer.write(request)
        answers.append(await answer(reader))
    writer.close()
    return answers


async def flood(port: int, others: list[list[bytes]]) -> tuple[list[Answer], list[Answer]]:
    """Many connections with large cached requests; beside them, some of other requests."""
    busy = [ask(port, [post(extra="x-request-id: mine\r\n")] * ROUNDS) for _ in range(CONNECTIONS)]
    done = await asyncio.gather(*busy, *(ask(port, requests) for requests in others))
    return (
        [one for answers in done[:CONNECTIONS] for one in answers],
        [one for answers in done[CONNECTIONS:] for one in answers],
    )


def test_a_late_loop_refuses_predictions_and_nothing_else(processes: Start, tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_MAX_LAG_MS="1")
    service.predict(TEXTS)
    always = [[get(path)] * ROUNDS for path in ("/health", "/ready", "/metrics", "/v1/tasks")]
    answers, others = asyncio.run(flood(service.port, always * 10))
    statuses = Counter(status for status, _, _ in answers)
    assert set(statuses) == {200, 429}, statuses
    assert statuses[200] >= CONNECTIONS / 3
    assert {status for status, _, _ in others} == {200}
    for status, headers, body in answers:
        assert headers["x-request-id"] == "mine"
        if status == 429:
            assert headers["retry-after"] == "1"
            error = json.loads(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["type"], error["code"]) == ("overloaded_error", "overloaded")
        else:
            assert json.loads(body)["usage"]["encoded"] == 0
    refused = statuses[429]
    assert service.metric("polyhead_refused_unread_total") == refused
    metrics = service.http.get("/metrics").text
    assert f'polyhead_requests_total{{route="POST /v1/predict",status="429"}} {refused}' in metrics
    assert f'polyhead_errors_total{{reason="overloaded"}} {refused}' in metrics
    assert "\npolyhead_loop_lag_seconds " in metrics
    assert service.predict(TEXTS)["usage"]["encoded"] == 0  # and it is over when they are gone


def test_without_the_bound_all_are_answered(processes: Start, tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_MAX_LAG_MS="0")
    service.predict(TEXTS)
    answers, _ = asyncio.run(flood(service.port, []))
    assert {status for status, _, _ in answers} == {200}
