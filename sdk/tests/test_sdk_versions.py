"""Versions through both clients: what is sent, and what comes back."""

from __future__ import annotations

import httpx
import pytest

from polyhead import (
    AnswerDrift,
    Backfill,
    Drift,
    LabelShare,
    LearningCurve,
    LearningPoint,
    NotFound,
    OutdatedHead,
    Overloaded,
    ProtocolError,
    ServiceUnreachable,
    ShadowExample,
    ShadowPair,
    Unavailable,
)


@pytest.fixture
def client(connect):
    client = connect()
    client.tasks.create("topic")
    return client


def last(service):
    request = service.requests[-1]
    return request.method, request.url.raw_path.decode()


def test_files_go_both_ways(client, service):
    assert client.tasks.export_version("topic", 7) == b"7 false"
    assert client.tasks.export_version("topic", 7, rows=True) == b"7 true"
    assert client.tasks.import_version("topic", b"12").version == 12
    assert last(service) == ("POST", "/v1/tasks/topic/versions/import")
    client.tasks.import_version("topic", bytearray(b"12"), activate=False)
    assert last(service) == ("POST", "/v1/tasks/topic/versions/import?activate=false")
    client.tasks.delete_version("topic", 7)
    assert last(service) == ("DELETE", "/v1/tasks/topic/versions/7")


def test_an_import_is_not_sent_twice(client, service):
    service.script.append(httpx.ReadError("broken"))
    with pytest.raises(ServiceUnreachable):
        client.tasks.import_version("topic", b"12")
    assert len([r for r in service.requests if r.url.path.endswith("import")]) == 1


def test_drift_is_read_in_full(client, service):
    answers = AnswerDrift(0.25, 0.05, (LabelShare("a", 0.5, 0.75),))
    found = Drift("topic", 300, 1, 1.5, 0.25, True, 160, 1.5, None, answers)
    assert client.tasks.drift("topic") == found
    assert last(service) == ("GET", "/v1/tasks/topic/drift")
    assert found in client.tasks.drifts()
    assert last(service) == ("GET", "/v1/drift")


def test_a_learning_curve_is_read_in_full(client, service):
    points = (LearningPoint(40, 0.5, (0.25, 0.75)), LearningPoint(80, mae=1.5))
    assert client.tasks.learning_curve("topic", 3) == LearningCurve("topic", 3, 20, points)
    assert last(service) == ("GET", "/v1/tasks/topic/versions/3/learning-curve")


def test_a_shadow_is_read_in_full(client, service):
    assert client.tasks.shadow("topic", 5).version == 5
    assert service.bodies()[-1] == {"version": 5}
    report = client.tasks.shadow_report("topic")
    assert (report.version, report.active_version, report.texts, report.rate) == (2, 1, 10, 0.3)
    assert report.interval == (0.1, 0.6)
    assert report.pairs == (ShadowPair("a", None, 2), ShadowPair(("a",), (), 1))
    assert report.examples == (ShadowExample("k", "a", None),)
    client.tasks.end_shadow("topic")
    assert last(service) == ("DELETE", "/v1/tasks/topic/shadow")


def test_outdated_heads(client):
    expected = OutdatedHead("topic", 3, "single_label", "eeee", options={"head": "auto"})
    assert client.tasks.outdated() == [expected]


def test_a_backfill_is_written(client, service, tmp_path):
    path = tmp_path / "out.jsonl"
    done = client.tasks.backfill("topic", path, version=2, tasks=["mood"], scores=True)
    assert done == Backfill(1, "ffff")
    assert path.read_text() == '{"key": "k", "predictions": {}}\n'
    assert service.bodies()[-1] == {"version": 2, "tasks": ["mood"], "scores": True}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (httpx.Response(429, headers={"retry-after": "30"}), Overloaded),
        (httpx.ConnectError("refused"), ServiceUnreachable),
        (httpx.Response(200, content=b'{"key": "k"}\n{"error": {"message": "g"}}\n'), Unavailable),
        (httpx.Response(200, content=b'{"key": "k"}\n'), ProtocolError),
        (httpx.Response(200, content=b""), ProtocolError),
    ],
)
def test_a_backfill_that_fails_leaves_no_file(client, service, tmp_path, outcome, error):
    service.script.append(outcome)
    with pytest.raises(error):
        client.tasks.backfill("topic", tmp_path / "out.jsonl")
    with pytest.raises(NotFound):
        client.tasks.backfill("other", tmp_path / "out.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_version_is_evaluated(client, service, tmp_path, form):
    job = client.tasks.evaluate("topic", 3, [("good", "a"), ("bad", "b")])
    assert (job.status, job.kind) == ("queued", "evaluation")
    rows = [{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}]
    assert service.bodies()[-1] == {"examples": rows}
    assert last(service) == ("POST", "/v1/tasks/topic/versions/3/evaluate")
    file = tmp_path / "rows.csv"
    file.write_text("t,l\ngood,a\n")
    done = client.tasks.evaluate("topic", 3, file, wait=True, text_column="t", label_column="l")
    assert (done.report.accuracy, done.kind) == (0.75, "evaluation")
    sent = next(r for r in service.requests if r.headers["content-type"].startswith("multipart"))
    parts = form(sent)
    assert parts["file"] == ("examples.csv", b"t,l\ngood,a\n")
    assert (parts["text_column"][1], parts["label_column"][1]) == (b"t", b"l")
