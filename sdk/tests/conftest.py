"""A small Polyhead service in memory, and the two clients under one blocking face."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import inspect
import json
import struct
import sys
import threading
from collections import deque
from contextlib import contextmanager
from email.parser import BytesParser
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import settings

if importlib.util.find_spec("polyhead") is None:  # A bare checkout, run from anywhere.
    sys.path.insert(0, str(Path(__file__).parents[1]))

import polyhead
from polyhead import _retry

# A busy machine is no failure.
settings.register_profile("polyhead", deadline=None)
settings.load_profile("polyhead")

BITS = 16


def code_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[: BITS // 8]


def vector_of(text: str) -> list[float]:
    code = int.from_bytes(code_of(text), "big")
    return [0.25 if code >> (BITS - 1 - i) & 1 else -0.25 for i in range(BITS)]


class Refusal(Exception):
    def __init__(self, status: int, code: str, param: str | None = None):
        self.status, self.code, self.param = status, code, param


class FakeService:
    """Meets the contract, logs requests, and fails on demand.

    `script` holds what to do to the next requests instead of answering: a response, an exception
    to raise, or None to answer. `hook` is called with each request before it is answered.
    """

    def __init__(self):
        self.requests, self.script, self.hook = [], deque(), None
        self.tasks, self.jobs, self.stored = {"sentiment": self._task("sentiment")}, {}, {}
        self.encoder = "f" * 8
        self.backfill = (
            b'{"key": "k", "predictions": {}}\n'
            b'{"object": "backfill.done", "encoder": "ffff", "texts": 1, "encoded": 0}\n'
        )
        self.lock, self.in_flight, self.most_in_flight = threading.Lock(), 0, 0

    @contextmanager
    def flight(self):
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def handle(self, request: httpx.Request) -> httpx.Response:
        with self.flight():
            return self.respond(request)

    async def ahandle(self, request: httpx.Request) -> httpx.Response:
        """The same, yielding to other requests while this one is in flight."""
        with self.flight():
            await asyncio.sleep(0.002)
            return self.respond(request)

    def respond(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self.lock:
            self.requests.append(request)
            event = self.script.popleft() if self.script else None
        if self.hook:
            event = self.hook(request) or event
        if isinstance(event, Exception):
            event.request = request
            raise event
        if event is None:
            return self.answer(request)
        # A copy: one response serves one client.
        return httpx.Response(event.status_code, headers=event.headers, content=event.content)

    def bodies(self) -> list[dict]:
        return [json.loads(request.content) for request in self.requests if request.content]

    def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.raw_path.decode().strip("/").split("/")
        parts = [part for part in parts if part not in ("texts", "v1")]
        parts = [httpx.URL(f"http://x/{part}").path[1:] for part in parts]
        try:
            match request.method, parts:
                case "GET", ["tasks", _, "versions", number, "export"]:
                    with_rows = request.url.params.get("rows", "false")
                    return httpx.Response(200, content=f"{number} {with_rows}".encode())
                case "POST", ["tasks", name, "backfill"] if name in self.tasks:
                    return httpx.Response(200, content=self.backfill)
            status, body = self.route(request, request.method, parts)
        except Refusal as refusal:
            fields = {"message": f"refused: {refusal.code}", "type": "invalid_request_error"}
            fields |= {"param": refusal.param, "code": refusal.code}
            headers = {"x-request-id": "req-1"}
            return httpx.Response(refusal.status, json={"error": fields}, headers=headers)
        return httpx.Response(status, json=body)

    def route(self, request, method, parts):
        body = {}
        if request.content and request.headers["content-type"] == "application/json":
            body = json.loads(request.content)
        match method, parts:
            case "POST", ["predict"]:
                return 200, self.predict(body)
            case "POST", ["encode"]:
                return 200, self.encode(body)
            case "POST", ["embeddings"]:
                return 200, self.embed(body)
            case "GET", ["models"]:
                return 200, {"object": "list", "data": [{"id": "mini", "object": "model"}]}
            case "GET", ["info" | "stats" | "health" | "ready"]:
                return 200, {"page": parts[0]}
            case "GET", ["tasks"]:
                return 200, {"object": "list", "data": list(self.tasks.values())}
            case "PUT", ["tasks", name]:
                task = self.tasks.setdefault(name, self._task(name, **body))
                if task["kind"] != body["kind"]:
                    raise Refusal(409, "task_exists", "kind")
                return 201, task
            case "GET", ["jobs"]:
                return 200, {"object": "list", "data": list(self.jobs.values())}
            case "GET", ["jobs", id]:
                return 200, self.advance(id)
            case _, ["tasks", name, *_] if name not in self.tasks:
                raise Refusal(404, "task_not_found", "task")
            case "GET", ["tasks", name]:
                return 200, self.tasks[name]
            case "DELETE", ["tasks", name]:
                del self.tasks[name]
                return 200, {"object": "task.deleted", "name": name, "deleted": True}
            case "POST", ["tasks", name, "versions", *rest] if rest[-1:] in ([], ["evaluate"]):
                job = self._job(name) | ({"kind": "evaluation"} if rest else {})
                self.jobs[job["id"]] = job
                return 202, job
            case "GET", ["tasks", name, "versions", number]:
                return 200, self._version(name, int(number))
            case "PATCH", ["tasks", name, "versions", number]:
                settings = {"coverage": 0.8, "accuracy": 0.9, **body}
                return 200, self._version(name, int(number)) | {"settings": settings}
            case "DELETE", ["tasks", name, "versions", number]:
                return 200, {"object": "task.version.deleted", "version": int(number)}
            case "POST", ["tasks", name, "versions", "import"]:
                assert request.headers["content-type"] == "application/octet-stream"
                return 201, self._version(name, int(request.content))
            case "GET", ["tasks", name, "drift"]:
                return 200, drift(name)
            case "PUT" | "GET", ["tasks", name, "shadow"]:
                return 200, shadow(name, body.get("version", 2))
            case "DELETE", ["tasks", name, "shadow"]:
                return 200, {"object": "task.shadow.ended", "task": name}
            case "POST", ["similar"]:
                return 200, self.similar(body)
            case "GET", ["tasks", name, "versions", number, "suspects"]:
                return 200, {"task": name, "version": int(number), "rows": 0, "data": []}
            case "GET", ["tasks", name, "versions", number, "learning-curve"]:
                return 200, learning_curve(name, int(number))
            case "GET", ["drift"]:
                return 200, {"object": "list", "data": [drift(name) for name in self.tasks]}
            case "GET", ["retraining"]:
                head = {"task": "topic", "version": 3, "kind": "single_label", "encoder": "eeee"}
                head |= {"ready_made": False, "options": {"head": "auto"}}
                return 200, {"object": "list", "encoder": self.encoder, "data": [head]}
            case "POST", ["tasks", name, "versions", "compare"]:
                return 200, comparison(name, body["a"], body["b"])
            case "POST", ["tasks", name, "versions", number, "activate"]:
                self.tasks[name]["active_version"] = int(number)
                return 200, self._version(name, int(number))
        raise Refusal(404, "not_found")

    def usage(self, texts, cached=0):
        tokens = sum(len(text.split()) for text in texts)
        counts = {"inputs": len(texts), "cached": cached, "encoded": len(texts) - cached}
        return {"prompt_tokens": tokens, "total_tokens": tokens, **counts}

    def similar(self, body):
        near = {"distance": 3, "share": 0.01, "key": "k"}
        if "task" in body:
            near = {**near, "key": None, "version": 1, "part": "examples", "row": 0, "label": "a"}
        data = [
            {"index": index, "key": text, "neighbours": [near]}
            for index, text in enumerate(body["inputs"])
        ]
        searched = {"codes": 1, "complete": True, "age_s": None}
        answer = {"encoder": self.encoder, "bits": 1536, "data": data, "searched": searched}
        return answer | {"usage": self.usage(body["inputs"])}

    def predict(self, body):
        names = body["tasks"] or list(self.tasks)
        for name in names:
            if name not in self.tasks:
                raise Refusal(404, "task_not_found", "tasks")
        texts = body.get("inputs")
        keyed = texts is None
        if keyed:
            if missing := [key for key in body["keys"] if key not in self.stored]:
                raise Refusal(404, "key_not_found", missing[0])
            texts = [self.stored[key] for key in body["keys"]]
        data = []
        for index, text in enumerate(texts):
            key = hashlib.sha256(text.encode()).hexdigest()[:8]
            self.stored[key] = text
            answer = {"label": "positive", "score": 0.98, "version": 3, "new_field": 1}
            if body["scores"]:
                answer["scores"] = {"positive": 0.98, "negative": 0.02}
            item = {"index": index, "key": key, "cached": keyed, "truncated": False}
            data.append({**item, "predictions": dict.fromkeys(names, answer), "new": []})
        usage = self.usage(texts, len(texts) if keyed else 0)
        return {"object": "list", "encoder": self.encoder, "data": data, "usage": usage}

    def encode(self, body):
        data = [
            {
                "index": index,
                "key": f"{index:08x}",
                "code": base64.b64encode(code_of(text)).decode(),
                "cached": False,
                "truncated": len(text) > 1000,
                "tokens": len(text.split()),
            }
            for index, text in enumerate(body["inputs"])
        ]
        usage = self.usage(body["inputs"])
        return {"data": data, "bits": BITS, "encoder": self.encoder, "usage": usage}

    def embed(self, body):
        assert body["encoding_format"] == "base64"
        data = []
        for index, text in enumerate(body["input"]):
            packed = base64.b64encode(struct.pack(f"<{BITS}f", *vector_of(text))).decode()
            data.append({"object": "embedding", "index": index, "embedding": packed})
        return {"object": "list", "data": data, "model": "m", "usage": self.usage(body["input"])}

    def _task(self, name, kind="single_label", labels=None, description=None):
        summary = {"version": 3, "head": "linear", "encoder": "ffff", "created_at": 1.5}
        summary |= {"active": True, "accuracy": 0.9, "macro_f1": None}
        task = {"object": "task", "name": name, "kind": kind, "labels": labels or []}
        task |= {"description": description, "ready_made": False, "active_version": 3}
        return {**task, "created_at": 1.0, "versions": [summary], "card": None}

    def _job(self, task):
        job = {"object": "job", "id": f"job-{len(self.jobs)}", "task": task, "status": "queued"}
        job |= {"stage": "queued", "progress": 0.0, "version": None, "report": None}
        return {**job, "error": None, "created_at": 2.0, "finished_at": None}

    def _version(self, task, version):
        answer = {"object": "task.version", "task": task, "version": version, "head": "linear"}
        answer |= {"kind": "single_label", "encoder": "ffff", "labels": ["a"], "created_at": 1.0}
        return {**answer, "active": True, "report": report()}

    def advance(self, id):
        if id not in self.jobs:
            raise Refusal(404, "job_not_found", "id")
        job = self.jobs[id]
        if job["status"] != "failed":
            job["progress"] = min(1.0, job["progress"] + 0.5)
            job["status"], job["stage"] = "running", "fitting"
        if job["progress"] == 1.0:
            job |= {"status": "succeeded", "stage": "done", "version": 1, "report": report()}
            job["finished_at"] = 3.0
        return job


def comparison(task, a, b):
    whole = {"version": b, "part": "examples", "row": 17, "truth": "x", "a": "y", "b": "x"}
    several = {"version": a, "part": "test_examples", "row": 0}
    several |= {"truth": ["x"], "a": [], "b": ["x", "y"]}
    return {
        "object": "task.comparison",
        "task": task,
        "a": {"version": a, "accuracy": 0.5, "mae": None},
        "b": {"version": b, "accuracy": 0.75, "mae": None},
        "rows": 4,
        "excluded": 1,
        "difference": {"mean": 0.25, "low": -0.25, "high": 0.75},
        "mcnemar": {"only_a": 0, "only_b": 1, "p_value": 1.0},
        "changed": [whole, several],
        "changed_count": 2,
    }


def shadow(task, version):
    pairs = [{"active": "a", "shadow": None, "count": 2}]
    pairs.append({"active": ["a"], "shadow": [], "count": 1})
    answer = {"object": "task.shadow", "task": task, "version": version, "active_version": 1}
    answer |= {"since": 1.5, "texts": 10, "dropped": 0, "disagreements": 3, "rate": 0.3}
    answer |= {"interval": [0.1, 0.6], "mean_difference": None, "mean_absolute_difference": None}
    examples = [{"key": "k", "active": "a", "shadow": None}]
    return {**answer, "pairs": pairs, "examples": examples}


def drift(task):
    answer = {"object": "task.drift", "task": task, "version": 1, "drift": 1.5, "distance": 0.25}
    answer |= {"shifted": True, "texts": 300, "training_rows": 160, "since": 1.5, "reason": None}
    labels = [{"label": "a", "trained": 0.5, "live": 0.75}]
    return {**answer, "answers": {"share": 0.25, "by_chance": 0.05, "labels": labels}}


def learning_curve(task, version):
    points = [{"rows": 40, "accuracy": 0.5, "interval": [0.25, 0.75], "mae": None}]
    points.append({"rows": 80, "accuracy": None, "interval": None, "mae": 1.5})
    answer = {"object": "task.learning_curve", "task": task, "version": version, "n_test": 20}
    return {**answer, "data": points}


def report():
    label = {"label": "a", "precision": 1, "recall": 0.5, "f1": 0.67, "support": 2}
    return {
        "kind": "single_label",
        "head": "linear",
        "accuracy": 0.75,
        "accuracy_interval": [0.4, 0.9],
        "gain_over_majority": {"mean": 0.25, "low": -0.1, "high": 0.6},
        "thresholds": {"a": 0.3},
        "coverage": [
            {"min_confidence": 0.5, "coverage": 0.9, "accuracy": 0.8},
            {"min_confidence": 0.95, "coverage": 0.0, "accuracy": None},
        ],
        "calibration": {
            "method": "temperature",
            "temperature": 1.5,
            "ece_before": 0.2,
            "ece_after": 0.1,
            "bins": [{"from": 0.9, "to": 1.0, "count": 2, "confidence": 0.95, "accuracy": 0.5}],
        },
        "base": {"version": 1, "rows": 10, "replaced": 2},
        "macro_f1": 0.7,
        "majority_accuracy": 0.5,
        "mae": None,
        "r2": None,
        "n_train": 8,
        "n_test": 2,
        "test_source": "held_out",
        "per_class": [label],
        "confusion": {"labels": ["a", "b"], "matrix": [[1, 0], [0, 1]]},
        "warnings": ["few examples"],
        "hyperparameters": {"l2": 0.1},
        "usage": {"inputs": 10, "cached": 4, "encoded": 6},
        "seconds": {"encode": 0.5, "fit": 0.25},
    }


def read_form(request: httpx.Request) -> dict[str, tuple[str | None, bytes]]:
    """The parts of a multipart body: name to file name and content."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.content)
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    }


class Blocking:
    """An async client that is called like the sync one."""

    def __init__(self, target, runner):
        self._target, self._runner = target, runner

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if name in ("tasks", "jobs"):
            return Blocking(value, self._runner)
        if not inspect.iscoroutinefunction(value):
            return value

        def call(*args, **kwargs):
            return self._runner.run(value(*args, **kwargs))

        return call


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Back off for no time, and see nothing of the real environment."""
    monkeypatch.setattr(_retry, "BASE_DELAY", 0.0)
    monkeypatch.delenv("POLYHEAD_URL", raising=False)
    monkeypatch.delenv("POLYHEAD_API_KEY", raising=False)


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture(params=["sync", "async"])
def connect(request, service):
    """Makes a client of the fake service; tests that use it run with both."""
    clients = []
    with asyncio.Runner() as runner:

        def make(**options):
            if request.param == "sync":
                options.setdefault("transport", httpx.MockTransport(service.handle))
                client = polyhead.Client(**options)
                clients.append(client.close)
                return client
            options.setdefault("transport", httpx.MockTransport(service.ahandle))
            client = Blocking(polyhead.AsyncClient(**options), runner)
            clients.append(client.aclose)
            return client

        make.kind = request.param
        yield make
        for close in clients:
            close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def form():
    return read_form


@pytest.fixture
def expect():
    """What the fake service answers: `expect.code(text)` and so on."""

    class Expect:
        code = staticmethod(code_of)
        vector = staticmethod(vector_of)
        report = staticmethod(report)
        bits = BITS

    return Expect


@pytest.fixture
def naps(monkeypatch):
    """Sleeps that take no time but are written down."""
    slept = []

    async def nap(seconds, *args):
        slept.append(seconds)
        await asyncio.sleep(0)

    clocks = (SimpleNamespace(sleep=slept.append), SimpleNamespace(sleep=nap))
    monkeypatch.setattr("polyhead._resources.time", clocks[0])
    monkeypatch.setattr("polyhead._async_resources.asyncio", clocks[1])
    return slept
