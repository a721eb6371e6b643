"""Deadlines, of real processes: what is late is answered as late, and its work is dropped."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.test_bad_input import check_shape
from tests.conftest import ServiceProcess, ValkeyProcess, wait_for

Start = Callable[..., ServiceProcess]
TEXTS = 1000  # more than any machine encodes in the times below


def long_texts(count: int) -> list[str]:
    return [f"{uuid.uuid4().hex} " + "word " * 180 for _ in range(count)]


def within(ms: int | str) -> dict[str, str]:
    return {"x-request-timeout-ms": str(ms)}


def test_what_is_late_gets_504_and_leaves_the_queue(service: ServiceProcess) -> None:
    before = service.metric("polyhead_encoder_passes_total")
    response = service.http.post(
        "/v1/predict", json={"inputs": long_texts(TEXTS)}, headers=within(50)
    )
    assert response.status_code == 504, response.text
    error = check_shape(response)
    assert (error["code"], error["type"]) == ("deadline_exceeded", "timeout_error")
    assert response.headers["x-request-id"]
    wait_for(lambda: service.metric("polyhead_queued_texts") == 0, 10, "an empty queue")
    assert service.metric("polyhead_encoder_passes_total") - before < TEXTS
    assert 'polyhead_errors_total{reason="deadline_exceeded"}' in service.http.get("/metrics").text


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/encode", "/v1/embeddings"])
def test_who_is_in_time_is_answered(service: ServiceProcess, path: str) -> None:
    field = "input" if path == "/v1/embeddings" else "inputs"
    # Far over the bound on any request, which takes its place.
    response = service.http.post(path, json={field: "in time"}, headers=within(10**14))
    assert response.status_code == 200


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "9" * 16, "9" * 5000, "²"])
def test_a_timeout_that_is_no_number_is_named(service: ServiceProcess, value: str) -> None:
    headers = {b"x-request-timeout-ms": value.encode()}
    response = service.http.post("/v1/predict", json={"inputs": "a"}, headers=headers)
    assert response.status_code == 422
    assert check_shape(response)["param"] == "x-request-timeout-ms"


def test_no_request_takes_longer_than_the_service_allows(processes: Start, tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_MAX_REQUEST_S="0.2")
    for headers in ({}, within(60_000)):
        body = {"inputs": long_texts(TEXTS)}
        response = service.http.post("/v1/predict", json=body, headers=headers)
        assert response.status_code == 504
    wait_for(lambda: service.metric("polyhead_queued_texts") == 0, 10, "an empty queue")


def test_a_frozen_encoder_process_is_waited_for_no_longer_than_the_caller_does(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    encoder = processes("encoder", tmp_path / "encoder", REDIS_URL=valkey.url)
    api = processes("api", tmp_path / "api", REDIS_URL=valkey.url, POLYHEAD_ENCODER_URL=encoder.url)
    # The api's deadline goes along: the encoder drops the work as well, and says so itself or is
    # hung up on.
    response = api.http.post("/v1/encode", json={"inputs": long_texts(TEXTS)}, headers=within(50))
    assert response.status_code == 504
    assert check_shape(response)["code"] == "deadline_exceeded"
    wait_for(lambda: encoder.metric("polyhead_queued_texts") == 0, 10, "an empty queue")
    assert encoder.metric("polyhead_encoder_passes_total") < TEXTS

    assert encoder.process is not None
    os.kill(encoder.process.pid, signal.SIGSTOP)
    try:
        late = api.http.post("/v1/encode", json={"inputs": "never seen"}, headers=within(300))
        assert late.status_code == 504
        assert check_shape(late)["code"] == "deadline_exceeded"
    finally:
        os.kill(encoder.process.pid, signal.SIGCONT)
    wait_for(
        lambda: api.http.post("/v1/encode", json={"inputs": "new"}).status_code == 200,
        30,
        "answers after the thaw",
    )


def test_a_frozen_cache_is_waited_for_no_longer_than_the_caller_does(
    valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    service = processes(
        "all", tmp_path, REDIS_URL=valkey.url, POLYHEAD_CACHE_TIMEOUT_MS="10000",
        POLYHEAD_CACHE_FRONT_MB="0",
    )  # fmt: skip
    assert service.predict("hello")["usage"]["encoded"] == 1
    assert valkey.process is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        late = service.http.post("/v1/predict", json={"inputs": "hello"}, headers=within(200))
        assert late.status_code == 504
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    wait_for(lambda: service.predict("hello")["usage"]["cached"] == 1, 30, "a hit after the thaw")
