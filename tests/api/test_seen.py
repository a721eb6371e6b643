"""What a real service shows of itself: metrics, logs, traces; and what it never shows."""

from __future__ import annotations

import http.server
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServiceProcess, ValkeyProcess, wait_for

Start = Callable[..., ServiceProcess]
NAMES = {
    "polyhead_request_duration_seconds_count",
    "polyhead_queue_duration_seconds_count",
    "polyhead_tokenization_duration_seconds_count",
    "polyhead_inference_duration_seconds_count",
    "polyhead_cache_duration_seconds_count",
    "polyhead_cache_hits_total",
    "polyhead_cache_misses_total",
    "polyhead_errors_total",
    "polyhead_encoder_passes_total",
    "polyhead_passes_saved_total",
    "polyhead_batch_tokens_count",
    "polyhead_padding_share_count",
}


def test_every_stage_has_its_metric(service: ServiceProcess) -> None:
    text = f"seen {uuid.uuid4().hex}"
    before = {name: service.metric(name) for name in NAMES}
    for _ in range(2):  # a miss, then a hit
        service.predict(text, tasks=["emotion", "humour"])
    assert service.http.post("/v1/predict", json={"inputs": []}).status_code == 400
    for name in NAMES:
        assert service.metric(name) > before[name], name
    page = service.http.get("/metrics").text
    assert 'polyhead_errors_total{reason="empty_input"}' in page


class Collector:
    """An OTLP/HTTP collector as far as an exporter sees it; keeps the spans."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        self.spans: list[tuple[str, Any]] = []  # service role, span
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    data = gzip.decompress(data)
                for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                    attributes = values(resource.resource.attributes)
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            collector.spans.append((attributes["polyhead.role"], span))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    made = Collector()
    yield made
    made.server.shutdown()


def test_a_request_is_one_trace_over_both_processes(
    collector: Collector, valkey: ValkeyProcess, processes: Start, tmp_path: Path
) -> None:
    traced = {
        "REDIS_URL": valkey.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    encoder = processes("encoder", tmp_path / "encoder", **traced)
    api = processes("api", tmp_path / "api", POLYHEAD_ENCODER_URL=encoder.url, **traced)
    trace_id, secret = uuid.uuid4().hex, f"secret {uuid.uuid4().hex}"
    response = api.http.post(
        "/v1/predict",
        json={"inputs": secret},
        headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "x-request-id": "my-own-id"},
    )
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "my-own-id"

    def ours() -> list[tuple[str, Any]]:
        return [(role, s) for role, s in collector.spans if s.trace_id.hex() == trace_id]

    def names() -> set[tuple[str, str]]:
        return {(role, span.name) for role, span in ours()}

    expected = {("api", stage) for stage in ("cache", "tokenization", "queue", "inference")}
    expected |= {("api", "POST /v1/predict"), ("encoder", "POST /internal/encode")}
    wait_for(lambda: expected <= names(), 30, "the spans")
    spans = {(role, span.name): span for role, span in ours()}
    root = spans["api", "POST /v1/predict"]
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert spans["encoder", "POST /internal/encode"].parent_span_id == root.span_id
    for role, span in ours():
        if span.name in ("cache", "queue"):
            assert role == "api"
            assert span.parent_span_id == root.span_id
            assert span.start_time_unix_nano <= span.end_time_unix_nano
    attributes = values(root.attributes)
    assert attributes["polyhead.request_id"] == "my-own-id"
    assert attributes["http.response.status_code"] == 200
    assert values(spans["encoder", "POST /internal/encode"].attributes)[
        "polyhead.request_id"
    ] == "my-own-id"  # fmt: skip
    assert secret not in "".join(str(span) for _, span in collector.spans)


def test_traces_without_the_extra_are_told_at_the_start(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk.trace'] = None"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    service = ServiceProcess(
        "all",
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        PYTHONPATH=str(tmp_path),
    )
    with pytest.raises(RuntimeError, match=r"polyhead-service\[otel\]"):
        service.start()
    assert "Traceback" not in service.log.read_text()


SECRETS = {
    "text": "secret-text-of-a-caller",
    "label": "secret-label-of-a-caller",
    "key": "secret-api-key-1",
    "wrong key": "secret-wrong-key-1",
    "manage": "secret-manage-key-1",
}


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_is_a_secret_comes_out(processes: Start, tmp_path: Path, form: str) -> None:
    """Good and bad requests of every kind, at the most talkative level; then a search."""
    service = processes(
        "all",
        tmp_path,
        POLYHEAD_API_KEYS=f"predict:{SECRETS['key']},manage:{SECRETS['manage']}",
        POLYHEAD_LOG_LEVEL="debug",
        POLYHEAD_LOG_FORMAT=form,
        POLYHEAD_RATE_LIMIT="1000/hour",
    )
    text, label = SECRETS["text"], SECRETS["label"]
    rows = [{"text": f"{text} {n}", "label": f"{label}-{n % 2}"} for n in range(8)]
    bad_rows = [{"text": text, "label": label}, {"text": text, "labels": text}, {"text": ""}]
    csv = f"text,label\n{text},{label}\n{text}\n"
    said: list[str] = []

    def ask(method: str, path: str, key: str = SECRETS["manage"], **fields: Any) -> int:
        headers = {"authorization": f"Bearer {key}", **fields.pop("headers", {})}
        response = service.http.request(method, path, headers=headers, **fields)
        if response.status_code >= 400:
            said.append(response.text)
        return response.status_code

    assert ask("POST", "/v1/predict", SECRETS["key"], json={"inputs": text}) == 200
    assert ask("POST", "/v1/predict", SECRETS["wrong key"], json={"inputs": text}) == 401
    assert ask("PUT", "/v1/tasks/mine", SECRETS["key"], json={}) == 403
    assert ask("PUT", "/v1/tasks/mine", json={}) == 201
    for body in (
        {"inputs": [text, 5]},
        {"inputs": text, "scores": text},
        {"inputs": {text: text}},
        {"inputs": text, text: 1},
        {"inputs": text, "tasks": ["no-such-task"]},
        {"keys": [text]},
        {"inputs": [text] * 1025},
        {"inputs": text * 50_000},
        {"inputs": text * 400_000},
        {"inputs": f"{text} word " * 200, "truncate": False},
    ):
        assert ask("POST", "/v1/predict", SECRETS["key"], json=body) in (404, 413, 422), body
    assert ask("POST", "/v1/predict", content=f'{{"inputs": "{text}'.encode()) == 400
    assert (
        ask("POST", "/v1/encode", json={"inputs": [f"{text} {n}" for n in range(900)]},
            headers={"x-request-timeout-ms": "1"}) == 504
    )  # fmt: skip
    path = "/v1/tasks/mine/versions"
    for examples in bad_rows:
        assert ask("POST", path, json={"examples": [examples]}) in (400, 422)
    for name in ("a.csv", "a.jsonl", "a.txt", f"{text}.txt"):
        assert ask("POST", path, files={"file": (name, csv)}) in (400, 422)
    assert ask("POST", path, json={"examples": rows}) == 202

    def trained() -> bool:
        headers = {"authorization": f"Bearer {SECRETS['manage']}"}
        (job, *_) = service.http.get("/v1/jobs", headers=headers).json()["data"]
        return job["status"] in ("succeeded", "failed")

    wait_for(trained, 120, "the end of the training")
    headers = {"authorization": f"Bearer {SECRETS['key']}"}
    metrics = service.http.get("/metrics", headers=headers).text
    stats = service.http.get("/v1/stats", headers=headers).text
    service.stop()
    log = service.log.read_text()
    assert "/v1/predict" in log
    for place, said_there in {
        "log": log, "metrics": metrics, "stats": stats, "errors": "\n".join(said),
    }.items():  # fmt: skip
        for what, secret in SECRETS.items():
            if place == "errors" and what == "label":
                continue  # an unknown label is named to who sent it, cut to 80 letters
            assert secret not in said_there, f"{what} in {place}"


def test_json_logs_are_json_with_the_id_that_the_answer_carries(
    processes: Start, tmp_path: Path
) -> None:
    service = processes("all", tmp_path, POLYHEAD_LOG_FORMAT="json")
    response = service.http.post("/v1/predict", json={"inputs": []})
    service.stop()
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    (ours,) = [line for line in lines if line.get("request_id") == response.headers["x-request-id"]]
    assert ours["route"] == "POST /v1/predict"
    assert (ours["status"], ours["error"]) == (400, "empty_input")
    assert ours["milliseconds"] >= 0
