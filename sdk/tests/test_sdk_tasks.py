"""Tasks, trainings and jobs, with both clients."""

from __future__ import annotations

import io
import json
import sys
import types

import httpx
import pytest

import polyhead
from polyhead import _progress

PAIRS = [("good", "positive"), ("bad", "negative")]


def lines(service):
    return [f"{r.method} {r.url.raw_path.decode()}" for r in service.requests]


def test_tasks(client, service):
    task = client.tasks.create("topic", labels=["a", "b"], description="what about")
    assert task == polyhead.Task(
        name="topic",
        kind="single_label",
        labels=("a", "b"),
        ready_made=False,
        created_at=1.0,
        versions=(polyhead.VersionSummary(3, "linear", "ffff", 1.5, True, 0.9, None),),
        active_version=3,
        description="what about",
    )
    assert service.bodies()[0] == {
        "kind": "single_label",
        "labels": ["a", "b"],
        "description": "what about",
    }
    assert client.tasks.get("topic") == task
    assert [task.name for task in client.tasks.list()] == ["sentiment", "topic"]
    with pytest.raises(polyhead.Conflict) as caught:
        client.tasks.create("topic", "regression")
    assert caught.value.code == "task_exists"
    assert client.tasks.delete("topic") is None
    with pytest.raises(polyhead.NotFound) as caught:
        client.tasks.get("topic")
    assert (caught.value.param, caught.value.request_id) == ("task", "req-1")


@pytest.mark.parametrize("name", ["a/b", "a?b#c", "a b", "ü", "..a", "%2e%2e", "a:b", "a\\b", ";"])
def test_any_name_is_one_segment(client, service, name):
    client.tasks.create(name)
    assert list(service.tasks) == ["sentiment", name]
    assert client.tasks.get(name).name == name


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_are_paths_are_refused(client, service, name):
    for method in (client.tasks.get, client.tasks.delete, client.tasks.create, client.jobs.get):
        with pytest.raises(ValueError, match="must not be"):
            method(name)
    with pytest.raises(TypeError, match="name must be a str, not NoneType"):
        client.tasks.get(None)
    with pytest.raises(ValueError, match="name holds a lone surrogate"):
        client.tasks.get("\ud800")
    assert service.requests == []


def test_wrong_task_arguments(client, service):
    with pytest.raises(TypeError, match="labels must be a sequence of str, not str"):
        client.tasks.create("t", labels="ab")
    with pytest.raises(ValueError, match="description holds a lone surrogate"):
        client.tasks.create("t", description="\ud800")
    with pytest.raises(TypeError):
        client.tasks.version("t", "../x")
    assert service.requests == []


def test_versions(client, service):
    version = client.tasks.version("sentiment", 2)
    assert (version.task, version.version, version.report.n_train) == ("sentiment", 2, 8)
    assert version.settings == polyhead.VersionSettings()
    report = version.report
    assert report.accuracy_interval == (0.4, 0.9)
    assert report.gain_over_majority == polyhead.Interval(0.25, -0.1, 0.6)
    assert report.thresholds == {"a": 0.3}
    assert report.coverage == (polyhead.Coverage(0.5, 0.9, 0.8), polyhead.Coverage(0.95, 0.0))
    assert report.base == polyhead.Base(1, 10, 2)
    [one] = report.calibration.bins
    assert (report.calibration.method, report.calibration.temperature) == ("temperature", 1.5)
    assert (report.calibration.ece_before, report.calibration.ece_after) == (0.2, 0.1)
    assert one == polyhead.CalibrationBin(0.9, 1.0, 2, 0.95, 0.5)
    assert client.tasks.activate("sentiment", 2).version == 2
    assert service.tasks["sentiment"]["active_version"] == 2
    assert lines(service)[-1] == "POST /v1/tasks/sentiment/versions/2/activate"


def test_training_from_pairs(client, service):
    job = client.tasks.train("sentiment", PAIRS)
    assert (job.status, job.progress, job.finished) == ("queued", 0.0, False)
    assert lines(service) == ["GET /v1/tasks/sentiment", "POST /v1/tasks/sentiment/versions"]
    assert service.bodies()[0] == {
        "examples": [
            {"text": "good", "label": "positive"},
            {"text": "bad", "label": "negative"},
        ],
        "test_examples": None,
        "head": "auto",
        "activate": None,
        "test_fraction": None,
        "seed": 0,
        "class_weight": None,
        "label_names": True,
        "base": None,
    }
    assert [job.id for job in client.jobs.list()] == ["job-0"]


def test_training_with_every_option(client, service):
    client.tasks.train(
        "sentiment",
        iter(PAIRS),
        test_examples=[{"text": "fine", "label": "positive"}],
        head="mlp",
        activate=False,
        test_fraction=0.5,
        seed=7,
        class_weight="balanced",
        label_names=False,
        base=3,
    )
    body = service.bodies()[0]
    assert body.pop("examples")
    assert body == {
        "test_examples": [{"text": "fine", "label": "positive"}],
        "head": "mlp",
        "activate": False,
        "test_fraction": 0.5,
        "seed": 7,
        "class_weight": "balanced",
        "label_names": False,
        "base": 3,
    }


def test_training_on_a_base(client, service, form, tmp_path):
    client.tasks.train("sentiment", base=2, head="mlp")
    assert lines(service) == ["POST /v1/tasks/sentiment/versions"]
    body = service.bodies()[0]
    assert (body["examples"], body["test_examples"], body["base"]) == (None, None, 2)
    client.tasks.train("sentiment", base=2, test_examples=PAIRS)
    assert len(service.bodies()[1]["test_examples"]) == 2
    test = tmp_path / "test.csv"
    test.write_text("text,label\na,x\n")
    client.tasks.train("sentiment", base=2, test_examples=test)
    sent = form(service.requests[2])
    assert sent["test_file"] == ("test_examples.csv", test.read_bytes())
    assert "file" not in sent
    assert sent["base"] == (None, b"2")
    with pytest.raises(polyhead.NotFound):
        client.tasks.train("new", base=2)
    with pytest.raises(ValueError, match="examples must be given"):
        client.tasks.train("sentiment")


def test_configuring_a_version(client, service):
    version = client.tasks.configure("sentiment", 3, min_confidence=0.7)
    assert lines(service) == ["PATCH /v1/tasks/sentiment/versions/3"]
    assert version.settings == polyhead.VersionSettings(0.7, None, 0.8, 0.9)
    client.tasks.configure("sentiment", 3, min_confidence=None, thresholds={"a": 0.25})
    client.tasks.configure("sentiment", 3, thresholds=None)
    assert service.bodies() == [
        {"min_confidence": 0.7},
        {"min_confidence": None, "thresholds": {"a": 0.25}},
        {"thresholds": None},
    ]
    with pytest.raises(ValueError, match="give min_confidence or thresholds"):
        client.tasks.configure("sentiment", 3)
    with pytest.raises(TypeError):
        client.tasks.configure("sentiment", "3", min_confidence=0.7)
    assert len(service.requests) == 3


def test_comparing_versions(client, service):
    compared = client.tasks.compare("sentiment", 1, 2)
    assert lines(service) == ["POST /v1/tasks/sentiment/versions/compare"]
    assert service.bodies() == [{"a": 1, "b": 2}]
    assert compared == polyhead.Comparison(
        task="sentiment",
        a=polyhead.ComparedVersion(1, 0.5),
        b=polyhead.ComparedVersion(2, 0.75),
        rows=4,
        excluded=1,
        difference=polyhead.Interval(0.25, -0.25, 0.75),
        mcnemar=polyhead.McNemar(0, 1, 1.0),
        changed=(
            polyhead.ChangedRow(2, "examples", 17, truth="x", a="y", b="x"),
            polyhead.ChangedRow(1, "test_examples", 0, truth=("x",), a=(), b=("x", "y")),
        ),
        changed_count=2,
    )
    with pytest.raises(polyhead.NotFound):
        client.tasks.compare("new", 1, 2)


def test_columns_hold_for_dicts(client, service):
    row = {"body": "fine", "stars": 4.0}
    columns = {"text_column": "body", "label_column": "stars"}
    client.tasks.train("sentiment", [row], test_examples=[row], **columns)
    body = service.bodies()[0]
    assert body["examples"] == body["test_examples"] == [{"text": "fine", "value": 4.0}]


@pytest.mark.parametrize(
    ("examples", "options", "kind"),
    [
        (PAIRS, {}, "single_label"),
        ([("a", ["x"])], {}, "multi_label"),
        ([("a", 0.5)], {}, "regression"),
        (PAIRS, {"kind": "multi_label"}, "multi_label"),
    ],
)
def test_training_creates_a_missing_task(client, service, examples, options, kind):
    client.tasks.train("new", examples, **options)
    created = service.bodies()[0]
    assert created == {"kind": kind, "labels": None, "description": None}
    assert [line.split()[0] for line in lines(service)] == ["GET", "PUT", "POST"]


def test_training_without_creating(client, service):
    with pytest.raises(polyhead.NotFound):
        client.tasks.train("new", PAIRS, create=False)
    assert lines(service) == ["POST /v1/tasks/new/versions"]


def test_wrong_examples_create_nothing(client, service, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,x\n")
    for examples, options, error in [
        (None, {}, ValueError),
        ([], {}, ValueError),
        ([("a", 1)], {}, TypeError),
        (PAIRS, {"test_examples": []}, ValueError),
        (PAIRS, {"test_examples": [("a", 0.5)]}, ValueError),
        (PAIRS, {"test_examples": tmp_path / "a.csv"}, ValueError),
        (tmp_path / "a.csv", {"test_examples": PAIRS}, ValueError),
        (tmp_path / "b.csv", {}, FileNotFoundError),
        (PAIRS, {"text_column": "\ud800"}, ValueError),
    ]:
        with pytest.raises(error):
            client.tasks.train("new", examples, **options)
    assert service.requests == []


def test_training_from_files(client, service, form, tmp_path):
    train, test = tmp_path / "my secret path.csv", tmp_path / "test.jsonl"
    train.write_text("body,stars\ngüt,x\n", encoding="utf-8")
    test.write_text('{"body": "a", "stars": "x"}\n')
    client.tasks.train(
        "new",
        str(train),
        test_examples=test,
        activate=True,
        seed=3,
        text_column="body",
        label_column="stars",
    )
    assert json.loads(service.requests[1].content)["kind"] == "single_label"
    assert form(service.requests[2]) == {
        "file": ("examples.csv", train.read_bytes()),
        "test_file": ("test_examples.jsonl", test.read_bytes()),
        "head": (None, b"auto"),
        "activate": (None, b"true"),
        "seed": (None, b"3"),
        "label_names": (None, b"true"),
        "text_column": (None, b"body"),
        "label_column": (None, b"stars"),
    }


def test_an_upload_can_be_sent_again(client, service, form, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "value": 1.5}\n')
    service.script.extend([None, httpx.Response(503), httpx.ConnectError(""), None])
    client.tasks.train("sentiment", path)
    posts = service.requests[1:]
    assert len(posts) == 3
    assert form(posts[0]) == form(posts[1]) == form(posts[2])


@pytest.mark.parametrize("failure", [httpx.ReadError(""), httpx.RemoteProtocolError("")])
def test_what_may_have_arrived_is_not_done_twice(client, service, failure):
    service.script.append(failure)
    with pytest.raises(polyhead.ServiceUnreachable):
        client.tasks.train("sentiment", PAIRS, create=False)
    service.script.append(failure)
    with pytest.raises(polyhead.ServiceUnreachable):
        client.tasks.delete("sentiment")
    assert len(service.requests) == 2
    service.script.append(failure)
    client.tasks.activate("sentiment", 1)
    service.script.append(failure)
    client.tasks.create("sentiment")
    assert len(service.requests) == 6


@pytest.mark.parametrize("failure", [httpx.ConnectError(""), httpx.Response(429)])
def test_what_cannot_have_arrived_is(client, service, failure):
    service.script.append(failure)
    client.tasks.train("sentiment", PAIRS, create=False)
    service.script.append(failure)
    client.tasks.delete("sentiment")
    assert len(service.requests) == 4


def test_waiting(client, service, naps):
    job = client.tasks.train("new", PAIRS, wait=True)
    assert (job.status, job.version, job.report.accuracy) == ("succeeded", 1, 0.75)
    assert job.finished
    assert job.kind == "training"  # of a service that tells no kind
    assert naps == [0.25, 0.25]
    service.requests.clear()
    assert client.jobs.wait(job) == job
    assert service.requests == []
    assert client.jobs.wait("job-0") == client.jobs.get("job-0") == job


def test_a_failed_job_is_raised(client, service):
    job = client.tasks.train("sentiment", PAIRS)
    error = {"message": "one label only", "type": "t", "param": None, "code": "one_label"}
    service.jobs[job.id] |= {"status": "failed", "error": error}
    with pytest.raises(polyhead.JobFailed, match="one label only") as caught:
        client.jobs.wait(job, poll=0.001)
    assert caught.value.job.error == polyhead.JobError("one label only", "t", None, "one_label")


def test_an_end_that_this_version_does_not_know_is_an_end(client, service):
    job = client.tasks.train("sentiment", PAIRS)
    service.advance = lambda id: {**service.jobs[id], "status": "cancelled", "finished_at": 9.0}
    with pytest.raises(polyhead.JobFailed, match="status cancelled"):
        client.jobs.wait(job, poll=0.001)


def test_waiting_ends(client, service):
    job = client.tasks.train("sentiment", PAIRS)
    service.advance = lambda id: service.jobs[id]
    with pytest.raises(polyhead.Timeout, match=r"job job-0 is still queued after 0\.05 s"):
        client.jobs.wait(job, timeout=0.05, poll=0.01)
    with pytest.raises(polyhead.Timeout):
        client.jobs.wait(job.id, timeout=0)
    with pytest.raises(ValueError, match="poll must be positive"):
        client.jobs.wait(job, poll=0)


def test_waiting_never_sleeps_past_its_end(client, service, naps):
    job = client.tasks.train("sentiment", PAIRS)
    client.jobs.wait(job, timeout=5, poll=60)
    assert all(4 < nap <= 5 for nap in naps)


def test_waiting_for_nothing(client):
    with pytest.raises(polyhead.NotFound):
        client.jobs.wait("job-9")


class Stream(io.StringIO):
    def __init__(self, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


@pytest.mark.parametrize(
    ("progress", "tty", "shown"),
    [
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (True, True, True),
        (False, True, False),
    ],
)
def test_when_a_bar_is_shown(
    client, service, monkeypatch, naps, without_tqdm, progress, tty, shown
):
    stream = Stream(tty)
    monkeypatch.setattr(sys, "stderr", stream)
    client.jobs.wait(client.tasks.train("sentiment", PAIRS), progress=progress)
    assert bool(stream.getvalue()) is shown
    if shown:
        assert stream.getvalue() == (
            "\rsentiment [..............................]   0% queued"
            "\rsentiment [###############...............]  50% fitting"
            "\rsentiment [##############################] 100% done   "
            "\n"
        )


def test_no_bar_without_a_console(client, service, monkeypatch, naps):
    monkeypatch.setattr(sys, "stderr", None)
    job = client.tasks.train("sentiment", PAIRS)
    assert client.jobs.wait(job, progress=True).version == 1


def test_a_bar_leaves_its_line_when_the_job_fails(client, service, monkeypatch, without_tqdm):
    stream = Stream(True)
    monkeypatch.setattr(sys, "stderr", stream)
    job = client.tasks.train("sentiment", PAIRS)
    service.jobs[job.id] |= {"status": "failed"}
    with pytest.raises(polyhead.JobFailed):
        client.jobs.wait(job, poll=0.001)
    assert stream.getvalue().endswith("\n")


def test_tqdm_is_used_where_it_is_installed(monkeypatch):
    calls = []

    class Tqdm:
        def __init__(self, **options):
            calls.append(options["desc"])

        def set_postfix_str(self, text):
            calls.append((self.n, text))

        def close(self):
            calls.append("close")

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Tqdm))
    with _progress.progress_bar(True, "topic") as bar:
        bar.show(0.5, "fitting")
    assert calls == ["topic", (0.5, "fitting"), "close"]


def test_the_real_tqdm(monkeypatch):
    pytest.importorskip("tqdm")
    stream = Stream(True)
    monkeypatch.setattr(sys, "stderr", stream)
    with _progress.progress_bar(None, "topic") as bar:
        bar.show(0.5, "fitting")
        bar.show(1.0, "done")
    assert "topic  50%" in stream.getvalue()
    assert "topic 100%" in stream.getvalue()
    assert "done" in stream.getvalue()
