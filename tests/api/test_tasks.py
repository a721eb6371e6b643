"""A task's life over HTTP: make, train, read the report, promote, roll back, delete."""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import Any

import pytest

from tests.conftest import ServiceProcess

FRUIT = ("apple", "pear", "plum", "cherry", "banana", "mango", "grape", "peach")
TOOLS = ("hammer", "saw", "drill", "wrench", "pliers", "chisel", "screwdriver", "vise")
FORMS = ("I bought a {}", "where is my {}?", "the {} is on the table", "give me that {} now", "{}!")


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Sentences about fruit and about tools; none of them in the rows of another seed."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        words, label = ((FRUIT, "fruit"), (TOOLS, "tool"))[number % 2]
        thing = f"{chance.choice(words)} {seed} {chance.randrange(10_000)}"
        text = chance.choice(FORMS).format(thing)
        made.append({"text": text, "label": label})
    return made


def name() -> str:
    return f"task-{uuid.uuid4().hex[:12]}"


def wait(service: ServiceProcess, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while job["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = service.http.get(f"/v1/jobs/{job['id']}").json()
    return job


def train(service: ServiceProcess, task: str, **body: Any) -> dict[str, Any]:
    response = service.http.post(f"/v1/tasks/{task}/versions", json=body)
    assert response.status_code == 202, response.text
    return wait(service, response.json())


@pytest.fixture
def task(service: ServiceProcess) -> str:
    task = name()
    assert service.http.put(f"/v1/tasks/{task}", json={}).status_code == 201
    return task


def test_train_predict_promote_roll_back(service: ServiceProcess, task: str) -> None:
    refused = service.http.post("/v1/predict", json={"inputs": "a", "tasks": [task]})
    assert refused.status_code == 409

    job = train(service, task, examples=rows(200))
    assert job["status"] == "succeeded", job
    assert (job["version"], job["progress"], job["stage"]) == (1, 1.0, "done")
    report = job["report"]
    assert report["accuracy"] > 0.9 > report["majority_accuracy"]
    assert report["n_train"] + report["n_test"] == 200
    assert {row["label"] for row in report["per_class"]} == {"fruit", "tool"}
    matrix = report["confusion"]["matrix"]
    right = matrix[0][0] + matrix[1][1]
    assert right / report["n_test"] == pytest.approx(report["accuracy"])

    def ask(text: str) -> dict[str, Any]:
        answer: dict[str, Any] = service.predict(text, tasks=[task])["data"][0]["predictions"][task]
        return answer

    assert ask("a ripe apricot") | {"score": 0} == {"label": "fruit", "score": 0, "version": 1}

    flipped = [row | {"label": "tool" if row["label"] == "fruit" else "fruit"} for row in rows(200)]
    assert train(service, task, examples=flipped)["version"] == 2
    assert ask("a ripe apricot")["version"] == 1  # a second version waits to be promoted

    promoted = service.http.post(f"/v1/tasks/{task}/versions/2/activate").json()
    assert (promoted["version"], promoted["active"]) == (2, True)
    assert ask("a ripe apricot") | {"score": 0} == {"label": "tool", "score": 0, "version": 2}
    service.http.post(f"/v1/tasks/{task}/versions/1/activate")
    assert ask("a ripe apricot")["label"] == "fruit"

    described = service.http.get(f"/v1/tasks/{task}").json()
    assert described["active_version"] == 1
    assert [version["version"] for version in described["versions"]] == [1, 2]
    assert described["labels"] == ["fruit", "tool"]

    assert service.http.delete(f"/v1/tasks/{task}").json()["deleted"] is True
    assert service.http.get(f"/v1/tasks/{task}").status_code == 404
    gone = service.http.post("/v1/predict", json={"inputs": "a", "tasks": [task]})
    assert gone.status_code == 404


def test_training_twice_encodes_once(service: ServiceProcess, task: str) -> None:
    examples = rows(120, seed=time.time_ns())
    distinct = len({row["text"] for row in examples})
    first = train(service, task, examples=examples)["report"]["usage"]
    assert first["inputs"] == 122  # with the labels' names, which other tests may have asked before
    assert distinct <= first["encoded"] <= distinct + 2
    before = service.metric("polyhead_encoder_passes_total")
    second = train(service, task, examples=examples, head="mlp")
    assert second["report"]["usage"] == {"inputs": 120, "cached": 120, "encoded": 0}
    assert second["report"]["head"] == "mlp"
    assert service.metric("polyhead_encoder_passes_total") == before


def test_upload_csv_and_jsonl(service: ServiceProcess, task: str) -> None:
    csv = "title,kind\n" + "\n".join(f'"{row["text"]}",{row["label"]}' for row in rows(60))
    response = service.http.post(
        f"/v1/tasks/{task}/versions",
        files={"file": ("fruit.csv", csv.encode())},
        data={"text_column": "title", "label_column": "kind", "test_fraction": "0.5"},
    )
    assert response.status_code == 202, response.text
    report = wait(service, response.json())["report"]
    assert report["n_test"] == pytest.approx(30, abs=4)

    lines = "\n".join(json.dumps(row) for row in rows(60, seed=1))
    test = "\n".join(json.dumps(row) for row in rows(20, seed=2))
    response = service.http.post(
        f"/v1/tasks/{task}/versions",
        files={"file": ("train.jsonl", lines.encode()), "test_file": ("t.jsonl", test.encode())},
        data={"activate": "true"},
    )
    job = wait(service, response.json())
    assert (job["report"]["test_source"], job["report"]["n_test"]) == ("given", 20)
    assert service.http.get(f"/v1/tasks/{task}").json()["active_version"] == 2


def test_multi_label_and_regression(service: ServiceProcess) -> None:
    multi, value = name(), name()
    service.http.put(f"/v1/tasks/{multi}", json={"kind": "multi_label"})
    service.http.put(f"/v1/tasks/{value}", json={"kind": "regression"})
    labelled = [
        {"text": f"{fruit} and {tool} {n}", "labels": ["fruit", "tool"]}
        for n, (fruit, tool) in enumerate(zip(FRUIT, TOOLS, strict=True))
    ]
    labelled += [{"text": row["text"], "labels": [row["label"]]} for row in rows(80)]
    labelled += [{"text": f"it rained all day {n}", "labels": []} for n in range(20)]
    job = train(service, multi, examples=labelled)
    assert job["status"] == "succeeded", job
    (row,) = service.predict("a ripe apricot", tasks=[multi], scores=True)["data"]
    assert row["predictions"][multi]["labels"] == ["fruit"]
    assert set(row["predictions"][multi]["scores"]) == {"fruit", "tool"}

    graded = [{"text": r["text"], "value": 5.0 if r["label"] == "fruit" else 1.0} for r in rows(80)]
    job = train(service, value, examples=graded)
    assert job["report"]["mae"] < job["report"]["baseline_mae"]
    (row,) = service.predict("a ripe apricot", tasks=[value])["data"]
    assert row["predictions"][value]["value"] > 3
    for made in (multi, value):
        service.http.delete(f"/v1/tasks/{made}")


def test_what_cannot_be_trained_is_refused(service: ServiceProcess, task: str) -> None:
    def post(status: int, **body: Any) -> str:
        response = service.http.post(f"/v1/tasks/{task}/versions", json=body)
        assert response.status_code == status, response.text
        return str(response.json()["error"]["message"])

    assert "examples" in post(422, examples=[])
    assert "examples[0].label" in post(422, examples=[{"text": "a"}])
    assert "two labels" in post(422, examples=[{"text": "a", "label": "x"}] * 3)
    assert "head" in post(422, examples=rows(4), head="forest")
    assert "test_fraction" in post(422, examples=rows(4), test_fraction=1.5)
    assert "empty" in post(400, examples=[*rows(4), {"text": " ", "label": "fruit"}])
    response = service.http.post("/v1/tasks/no-such-task/versions", json={"examples": rows(4)})
    assert response.status_code == 404

    same = [{"text": "the very same", "label": label} for label in ("fruit", "tool")]
    few = train(service, task, examples=same)
    assert few["status"] == "failed"
    assert few["error"]["code"] == "invalid_examples"
    assert "same code" in few["error"]["message"]

    fixed = name()
    service.http.put(f"/v1/tasks/{fixed}", json={"labels": ["fruit", "vegetable"]})
    response = service.http.post(f"/v1/tasks/{fixed}/versions", json={"examples": rows(10)})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "unknown_label")
    conflict = service.http.put(f"/v1/tasks/{fixed}", json={"kind": "regression"})
    assert conflict.status_code == 409
    same = service.http.put(f"/v1/tasks/{fixed}", json={"labels": ["fruit", "vegetable"]})
    assert same.status_code == 200
    skipped = service.predict("hello").get("skipped", [])
    assert fixed in {one["task"] for one in skipped}
    service.http.delete(f"/v1/tasks/{fixed}")


@pytest.mark.parametrize(
    ("filename", "content", "status"),
    [
        ("a.csv", b"", 422),
        ("a.csv", b"text,label\n", 400),
        ("a.csv", b"text\nhello\n", 422),
        ("a.csv", b"text,label\n\xff\xfe,b\n", 400),
        ("a.csv", b'text,label\n"open', 400),
        ("a.csv", b"text,label\na,b,c\n", 422),
        ("a.csv", b"text,label\n\x00,b\n", 400),
        ("a.jsonl", b'{"text": "a"}\n', 422),
        ("a.jsonl", b"[1, 2]\n", 422),
        ("a.exe", b"MZ", 422),
    ],
)
def test_hostile_uploads(
    service: ServiceProcess, task: str, filename: str, content: bytes, status: int
) -> None:
    response = service.http.post(f"/v1/tasks/{task}/versions", files={"file": (filename, content)})
    assert response.status_code == status, response.text
    assert response.json()["error"]["param"]


def test_jobs_are_listed(service: ServiceProcess, task: str) -> None:
    job = train(service, task, examples=rows(40))
    listed = service.http.get("/v1/jobs").json()["data"]
    assert job["id"] in {one["id"] for one in listed}
