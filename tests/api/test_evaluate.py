"""POST .../versions/{n}/evaluate: a version on labelled texts that came later."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_tasks import name, rows, task, train, wait
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture
FLIP = {"fruit": "tool", "tool": "fruit"}


def post(service: ServiceProcess, task: str, version: int, status: int, **request: Any) -> Any:
    path = f"/v1/tasks/{task}/versions/{version}/evaluate"
    response = service.http.post(path, **request)
    assert response.status_code == status, response.text
    return response.json()


def evaluate(service: ServiceProcess, task: str, version: int, examples: Any) -> Any:
    job = wait(service, post(service, task, version, 202, json={"examples": examples}))
    assert (job["kind"], job["status"], job["version"]) == ("evaluation", "succeeded", version), job
    return job["report"]


def test_a_version_is_tested_on_new_texts(service: ServiceProcess, task: str) -> None:
    train(service, task, examples=rows(150, seed=501))
    new = rows(60, seed=502)
    report = evaluate(service, task, 1, new)
    answers = service.predict([row["text"] for row in new], tasks=[task])["data"]
    right = [
        a["predictions"][task]["label"] == r["label"] for a, r in zip(answers, new, strict=True)
    ]
    assert report["accuracy"] == pytest.approx(sum(right) / 60)
    assert (report["n_test"], report["test_source"], report["warnings"]) == (60, "given", [])
    calibration = report["calibration"]
    assert calibration["ece_before"] == calibration["ece_after"]
    assert sum(one["count"] for one in calibration["bins"]) == 60
    flipped = [row | {"label": FLIP[row["label"]]} for row in new]
    worse = evaluate(service, task, 1, flipped)
    assert worse["accuracy"] == pytest.approx(1 - report["accuracy"])
    assert [v["version"] for v in service.http.get(f"/v1/tasks/{task}").json()["versions"]] == [1]


def test_texts_that_were_trained_on_are_told(service: ServiceProcess, task: str) -> None:
    examples = rows(30, seed=503)  # few: all are trained on
    train(service, task, examples=examples)
    [note] = evaluate(service, task, 1, [*rows(5, seed=504), examples[0]])["warnings"]
    assert note == "1 of 6 rows are also trained on, so the score flatters: rows 5"
    report = evaluate(
        service, "clickbait", 1, [{"text": "You will not believe it", "label": "clickbait"}]
    )
    assert "whether these are among them is unknown" in report["warnings"][0]


def test_a_file_and_other_kinds(service: ServiceProcess) -> None:
    several, number = name(), name()
    service.http.put(f"/v1/tasks/{several}", json={"kind": "multi_label"})
    service.http.put(f"/v1/tasks/{number}", json={"kind": "regression"})
    given = rows(40, seed=505)
    train(service, several, examples=[{"text": r["text"], "labels": [r["label"]]} for r in given])
    train(service, number, examples=[{"text": r["text"], "value": len(r["text"])} for r in given])
    service.http.patch(
        f"/v1/tasks/{several}/versions/1", json={"thresholds": {"fruit": 1.0, "tool": 1.0}}
    )
    csv = b"text;what\na ripe pear;fruit\nnothing;\n"
    job = post(
        service, several, 1, 202, files={"file": ("a.csv", csv)}, data={"label_column": "what"}
    )
    report = wait(service, job)["report"]
    assert report["accuracy"] == 0.5  # under such thresholds nothing is given
    csv = b"text,value\na ripe pear,11\na saw,5\n"
    job = post(
        service, number, 1, 202, files={"file": ("a.csv", csv)}, data={"label_column": "value"}
    )
    report = wait(service, job)["report"]
    assert report["mae"] >= 0
    assert report["calibration"] is None
    for made in (several, number):  # other tests ask all tasks and expect single labels
        service.http.delete(f"/v1/tasks/{made}")


def test_what_cannot_be_tested_is_refused(service: ServiceProcess, task: str) -> None:
    train(service, task, examples=rows(20, seed=506))
    examples = [{"text": "a", "label": "fruit"}]
    assert post(service, task, 2, 404, json={"examples": examples})["error"]["code"]
    assert post(service, name(), 1, 404, json={"examples": examples})["error"]["code"]
    unknown = [{"text": "a", "label": "stone"}]
    refused = post(service, task, 1, 422, json={"examples": unknown})["error"]
    assert refused["code"] == "unknown_label"
    post(service, task, 1, 422, json={"examples": []})
    post(service, task, 1, 400, content=b"")
    post(service, task, 1, 422, files={"other": ("a.csv", b"a")})
    post(
        service, task, 1, 422, files={"file": ("a.csv", b"text,label\na,fruit\n")}, data={"x": "y"}
    )
