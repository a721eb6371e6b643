"""Whoever hangs up is not worked for."""

from __future__ import annotations

import json
import socket
import time
import uuid

from tests.conftest import ServiceProcess, wait_for

TEXTS = 400


def test_texts_of_a_caller_that_left_are_not_encoded(service: ServiceProcess) -> None:
    before = service.metric("polyhead_encoder_passes_total")
    texts = [f"{uuid.uuid4().hex} " + "word " * 180 for _ in range(TEXTS)]
    body = json.dumps({"inputs": texts}).encode()
    head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head + body)
        wait_for(
            lambda: service.metric("polyhead_encoder_passes_total") > before, 30, "the first batch"
        )
    wait_for(lambda: service.metric("polyhead_queued_texts") == 0, 5, "an empty queue")
    encoded = service.metric("polyhead_encoder_passes_total") - before
    assert 0 < encoded < TEXTS / 2
    time.sleep(0.5)
    assert service.metric("polyhead_encoder_passes_total") - before == encoded
    assert 'status="499"' in service.http.get("/metrics").text


def test_too_much_at_once_is_refused_before_it_is_queued(service: ServiceProcess) -> None:
    """Requests past the limits get 429 with Retry-After at once; the others are answered."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> tuple[int, str | None]:
        texts = [f"{uuid.uuid4().hex} {number} {n}" for n in range(800)]
        body = {"inputs": texts, "tasks": ["humour"]}
        response = service.http.post("/v1/predict", json=body, timeout=240)  # slow machines, too
        return response.status_code, response.headers.get("retry-after")

    with ThreadPoolExecutor(10) as pool:  # 8,000 texts, where 4,096 may be in the house
        answers = list(pool.map(ask, range(10)))
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 5
    assert all(int(after or 0) >= 1 for status, after in answers if status == 429)
    wait_for(lambda: service.metric("polyhead_queued_texts") == 0, 5, "an empty queue")
