"""POST /v1/tasks/{task}/backfill: all stored codes answered, in lines, without a pass."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq

from tests.api.test_tasks import name, rows, task, train
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture
PARQUET = "application/vnd.apache.parquet"


def backfill(service: ServiceProcess, task: str, **body: Any) -> tuple[list[Any], Any]:
    """The lines, and the last one."""
    response = service.http.post(f"/v1/tasks/{task}/backfill", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    *lines, last = [json.loads(line) for line in response.text.splitlines()]
    return lines, last


def test_a_new_head_answers_for_what_is_stored(service: ServiceProcess, task: str) -> None:
    texts = [row["text"] for row in rows(300, seed=201)]
    asked = service.predict(texts, tasks=["sentiment"])["data"]
    train(service, task, examples=rows(60, seed=202))
    train(service, task, examples=rows(60, seed=203), head="mlp")
    before = service.metric("polyhead_encoder_passes_total")
    answered = service.metric(f'polyhead_predictions_total{{task="{task}"}}')

    lines, last = backfill(service, task)
    found = {line["key"]: line["predictions"] for line in lines}
    assert last["object"] == "backfill.done"
    assert (last["texts"], last["encoded"]) == (len(lines), 0)
    assert len(found) >= 360
    assert service.metric("polyhead_encoder_passes_total") == before
    counted = service.metric(f'polyhead_predictions_total{{task="{task}"}}') - answered
    assert counted == len(lines)

    # The same as asking by key, which is the same as asking by text.
    keys = [row["key"] for row in asked]
    response = service.http.post("/v1/predict", json={"keys": keys, "tasks": [task]})
    for row in response.json()["data"]:
        assert row["predictions"] == found[row["key"]]
    again = service.predict(texts, tasks=[task])["data"]
    for row in again:
        assert row["predictions"] == found[row["key"]]


def test_the_same_as_parquet(service: ServiceProcess, task: str) -> None:
    train(service, task, examples=rows(60, seed=206))
    lines, _ = backfill(service, task, tasks=["sentiment"])
    url = f"/v1/tasks/{task}/backfill"
    ways: list[dict[str, Any]] = [
        {"json": {"tasks": ["sentiment"], "format": "parquet"}},
        {"json": {"tasks": ["sentiment"]}, "headers": {"accept": PARQUET}},
    ]
    for way in ways:
        response = service.http.post(url, **way)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == PARQUET
        table = pq.read_table(io.BytesIO(response.content)).to_pylist()
        found = {row["key"]: row for row in table}
        assert set(found) == {line["key"] for line in lines}
        for line in lines:
            for asked in (task, "sentiment"):
                answer = line["predictions"][asked]
                row = found[line["key"]]
                assert (row[asked], row[f"{asked}_score"]) == (answer["label"], answer["score"])
    lines_again = service.http.post(url, json={"format": "ndjson"}, headers={"accept": PARQUET})
    assert lines_again.headers["content-type"] == "application/x-ndjson"


def test_a_version_is_tried_before_it_is_promoted(service: ServiceProcess, task: str) -> None:
    examples = rows(40, seed=204)
    train(service, task, examples=examples)
    flipped = {"fruit": "tool", "tool": "fruit"}
    train(service, task, examples=[r | {"label": flipped[r["label"]]} for r in examples])
    key = service.predict(examples[0]["text"], tasks=[task])["data"][0]["key"]

    def of_key(**body: Any) -> Any:
        lines, _ = backfill(service, task, **body)
        return next(line["predictions"] for line in lines if line["key"] == key)

    assert of_key()[task] | {"score": 0} == {"label": "fruit", "score": 0, "version": 1}
    assert of_key(version=2)[task] | {"score": 0} == {"label": "tool", "score": 0, "version": 2}
    several = of_key(version=2, tasks=["sentiment", task], scores=True)
    assert list(several) == [task, "sentiment"]
    assert several[task]["version"] == 2
    assert set(several["sentiment"]["scores"]) == {"negative", "neutral", "positive"}
    assert service.http.get(f"/v1/tasks/{task}").json()["active_version"] == 1


def test_what_cannot_be_done_is_refused_before_the_first_line(
    service: ServiceProcess, task: str
) -> None:
    def post(status: int, task: str = task, **body: Any) -> Any:
        response = service.http.post(f"/v1/tasks/{task}/backfill", json=body)
        assert response.status_code == status, response.text
        return response.json()["error"]

    assert post(409)["code"] == "head_not_usable"  # nothing is active
    assert post(404, version=1)["code"] == "version_not_found"
    assert post(404, task=name())["code"] == "task_not_found"
    assert post(404, task="sentiment", tasks=["none-of-this-name"])["code"] == "task_not_found"
    assert post(422, version=0)["param"] == "version"
    assert post(422, task="sentiment", tasks=["sentiment"] * 1_000)["param"] == "tasks"
    assert post(422, limit=3)["param"] == "limit"
    assert post(422, task="sentiment", format="csv")["param"] == "format"
    assert post(404, version=1, format="parquet")["code"] == "version_not_found"


def test_a_reader_that_leaves_frees_its_place(service: ServiceProcess) -> None:
    service.predict([row["text"] for row in rows(200, seed=205)], tasks=["sentiment"])
    for _ in range(4):
        with service.http.stream("POST", "/v1/tasks/sentiment/backfill", json={}) as response:
            assert response.status_code == 200
            next(response.iter_lines())
    lines, _ = backfill(service, "sentiment")
    assert lines
