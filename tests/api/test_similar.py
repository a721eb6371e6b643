"""POST /v1/similar and a version's suspects: real codes, against all distances by numpy."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.api.test_tasks import name, rows, task, train
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture


def similar(service: ServiceProcess, status: int = 200, **body: Any) -> Any:
    response = service.http.post("/v1/similar", json=body)
    assert response.status_code == status, response.text
    return response.json() if status == 200 else response.json()["error"]


def encoded(service: ServiceProcess, texts: list[str]) -> tuple[list[str], np.ndarray]:
    """Keys, and bits as `(n, bits)`."""
    found = service.http.post("/v1/encode", json={"inputs": texts}).json()["data"]
    codes = [np.frombuffer(base64.b64decode(row["code"]), np.uint8) for row in found]
    return [row["key"] for row in found], np.unpackbits(np.stack(codes), axis=1)


def test_the_nearest_codes_are_those_of_numpy(service: ServiceProcess) -> None:
    texts = [row["text"] for row in rows(120, seed=301)]
    keys, bits = encoded(service, texts)
    answer = similar(service, keys=keys[:20], limit=100, max_age_s=0)
    assert answer["bits"] == bits.shape[1]
    assert answer["searched"]["complete"]
    assert answer["searched"]["codes"] >= 120
    assert [row["key"] for row in answer["data"]] == keys[:20]
    every = (bits[:20, None] != bits[None]).sum(axis=2)
    for row, distances in zip(answer["data"], every, strict=True):
        found = {near["key"]: near["distance"] for near in row["neighbours"]}
        assert row["key"] not in found
        assert len(found) == len(row["neighbours"])
        assert list(found.values()) == sorted(found.values())
        expected = dict(zip(keys, distances.tolist(), strict=True))
        farthest = max(found.values())
        for key, distance in expected.items():  # of the others that are stored, some are nearer
            if key in found:
                assert found[key] == distance
            elif key != row["key"]:
                assert distance >= farthest
        for near in row["neighbours"]:
            assert near["share"] == pytest.approx(near["distance"] / answer["bits"], abs=1e-6)


def test_a_text_that_differs_by_a_sign_is_next(service: ServiceProcess) -> None:
    text = "the red kite flew over the harbour at dawn, 302"
    key = encoded(service, [text])[0][0]
    answer = similar(service, inputs=text + "!", limit=1, tasks=["sentiment"], max_age_s=0)
    assert answer["usage"] == answer["usage"] | {"inputs": 1, "encoded": 1}
    (near,) = answer["data"][0]["neighbours"]
    assert near["key"] == key
    assert near["share"] < 0.2
    told = service.predict(text, tasks=["sentiment"])["data"][0]["predictions"]
    assert near["predictions"] == told
    # At once, though the codes were not read anew since.
    again = similar(service, inputs=text + "!!", limit=2)
    assert answer["data"][0]["key"] in {n["key"] for n in again["data"][0]["neighbours"]}
    none = similar(service, inputs=text + "!", max_distance=0)
    assert none["data"][0]["neighbours"] == []
    # With its own key left out, others of distance 0 stay.
    assert similar(service, inputs=[text, text], limit=1)["data"][0]["key"] == key


def test_rows_of_a_version_come_with_labels(service: ServiceProcess, task: str) -> None:
    examples = rows(60, seed=303)
    train(service, task, examples=examples)
    texts = [row["text"] for row in examples]
    answer = similar(service, inputs=texts[:8], task=task, limit=60)
    assert answer["searched"] == {"codes": 60, "complete": True, "age_s": None}
    _, bits = encoded(service, texts)
    every = (bits[:8, None] != bits[None]).sum(axis=2)
    for place, row in enumerate(answer["data"]):
        found = row["neighbours"]
        assert [near["distance"] for near in found] == sorted(every[place].tolist())
        for near in found:
            assert (near["version"], near["part"]) == (1, "examples")
            assert near["label"] == examples[near["row"]]["label"]
            assert near["distance"] == every[place, near["row"]]
    assert similar(service, inputs=texts[:8], task=task, version=1, limit=60) == answer | {
        "usage": answer["usage"]
    }


def test_what_cannot_be_searched_is_refused(service: ServiceProcess, task: str) -> None:
    def refused(status: int, **body: Any) -> Any:
        return similar(service, status, **body)

    assert refused(422)["param"] == "inputs"
    assert refused(422, inputs="a", keys=["0" * 32])["param"] == "inputs"
    assert refused(400, inputs=[])["code"] == "empty_input"
    assert refused(400, inputs=" ")["code"] == "empty_input"
    assert refused(422, keys=["xyz"])["param"] == "keys[0]"
    assert refused(404, keys=["0" * 32])["code"] == "key_not_found"
    for field, value in (
        ("limit", 0),
        ("limit", 101),
        ("max_distance", -1),
        ("max_age_s", -1),
        ("tasks", "sentiment"),
        ("version", 0),
        ("version", 1),
    ):
        assert refused(422, inputs="a", **{field: value})["param"] == field
    assert refused(422, inputs=["a"] * 257)["param"] == "inputs"
    assert "limit of 100" in refused(422, inputs=["a"] * 101, limit=100)["message"]
    assert refused(404, inputs="a", task=name())["code"] == "task_not_found"
    assert refused(404, inputs="a", tasks=[name()])["code"] == "task_not_found"
    assert refused(409, inputs="a", task=task)["param"] == "task"  # nothing is active
    assert refused(422, inputs="a", task="sentiment", tasks=["sentiment"])["param"] == "tasks"
    assert refused(409, inputs="a", task="sentiment")["code"] == "no_stored_rows"  # ready-made


def test_a_wrong_label_is_suspected(service: ServiceProcess, task: str) -> None:
    examples = rows(80, seed=304)
    wrong = {7: "fruit", 30: "tool", 55: "fruit"}
    for row, label in wrong.items():
        assert examples[row]["label"] != label
        examples[row] = examples[row] | {"label": label}
    train(service, task, examples=examples)
    url = f"/v1/tasks/{task}/versions/1/suspects"
    answer = service.http.get(url, params={"limit": 3, "neighbours": 4}).json()
    assert (answer["task"], answer["version"], answer["rows"]) == (task, 1, 80)
    assert {row["row"] for row in answer["data"]} == set(wrong)
    for row in answer["data"]:
        assert row["label"] == wrong[row["row"]] != row["suggested"]
        assert len(row["neighbours"]) == 4
        for near in row["neighbours"]:
            assert near["label"] == examples[near["row"]]["label"]
    # Kept: the same again, and more of it.
    more = service.http.get(url, params={"limit": 80, "neighbours": 4}).json()["data"]
    assert more[:3] == answer["data"]
    assert sorted(row["row"] for row in more) == list(range(80))

    def refused(status: int, url: str, **query: Any) -> Any:
        response = service.http.get(url, params=query)
        assert response.status_code == status, response.text
        return response.json()["error"]

    assert refused(422, url, limit=0)["param"] == "limit"
    assert refused(422, url, neighbours=11)["param"] == "neighbours"
    assert refused(404, url.replace("/1/", "/2/"))["code"] == "version_not_found"
    ready = "/v1/tasks/sentiment/versions/1/suspects"
    assert refused(409, ready)["code"] == "no_stored_rows"
    number = name()
    service.http.put(f"/v1/tasks/{number}", json={"kind": "regression"})
    values = [{"text": row["text"], "value": place} for place, row in enumerate(examples)]
    train(service, number, examples=values)
    numbers = f"/v1/tasks/{number}/versions/1/suspects"
    assert refused(409, numbers)["code"] == "kind_not_usable"
    near = similar(service, inputs=examples[3]["text"], task=number, limit=1)
    assert near["data"][0]["neighbours"][0]["value"] == 3.0
