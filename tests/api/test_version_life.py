"""Versions over HTTP: shadow, deletion, and a head as one file."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.test_tasks import name, rows, task, train
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture
FLIP = {"fruit": "tool", "tool": "fruit"}


def ask(service: ServiceProcess, method: str, path: str, status: int = 200, **fields: Any) -> Any:
    response = service.http.request(method, f"/v1/tasks/{path}", **fields)
    assert response.status_code == status, response.text
    return response.json()


def shadow_of(service: ServiceProcess, task: str, texts: int) -> Any:
    """The report, as soon as so many texts are compared."""
    deadline = time.monotonic() + 30
    while (found := ask(service, "GET", f"{task}/shadow"))["texts"] < texts:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_a_shadow_answers_live_traffic_unseen(service: ServiceProcess, task: str) -> None:
    examples = rows(80, seed=101)
    flipped = [{**row, "label": FLIP[row["label"]]} for row in examples]
    train(service, task, examples=examples)
    train(service, task, examples=flipped)
    ask(service, "GET", f"{task}/shadow", 404)
    begun = ask(service, "PUT", f"{task}/shadow", json={"version": 2})
    assert (begun["version"], begun["active_version"], begun["texts"]) == (2, 1, 0)
    assert ask(service, "GET", task)["shadow_version"] == 2

    texts = [row["text"] for row in rows(40, seed=101)]
    before = service.metric("polyhead_encoder_passes_total")
    data = service.predict(texts, tasks=[task, "sentiment"])["data"]
    assert {row["predictions"][task]["version"] for row in data} == {1}
    service.predict(texts[0], tasks=[task], scores=True)
    service.predict(texts, tasks=["sentiment"])  # another task: nothing to compare
    found = shadow_of(service, task, 41)
    assert found["texts"] == 41
    # Trained on these very texts with all labels the other way round.
    assert found["disagreements"] > 35
    assert found["interval"][0] < found["rate"] <= found["interval"][1]
    pairs = {(pair["active"], pair["shadow"]) for pair in found["pairs"]}
    assert pairs == set(FLIP.items())
    example = found["examples"][-1]
    assert example["key"] in {row["key"] for row in data}
    asked = service.http.post("/v1/predict", json={"keys": [example["key"]], "tasks": [task]})
    assert asked.json()["data"][0]["predictions"][task]["label"] == example["active"]
    assert service.metric("polyhead_encoder_passes_total") - before <= len(set(texts))
    assert service.metric(f'polyhead_shadow_texts_total{{task="{task}"}}') == 41

    ended = ask(service, "DELETE", f"{task}/shadow")
    assert ended["ended"]
    ask(service, "DELETE", f"{task}/shadow", 404)
    ask(service, "PUT", f"{task}/shadow", json={"version": 2})
    ask(service, "POST", f"{task}/versions/2/activate")
    assert ask(service, "GET", task)["shadow_version"] is None


def test_shadows_that_cannot_be(service: ServiceProcess, task: str) -> None:
    train(service, task, examples=rows(20, seed=102))
    refused = ask(service, "PUT", f"{task}/shadow", 409, json={"version": 1})["error"]
    assert refused["code"] == "version_active"
    ask(service, "PUT", f"{task}/shadow", 404, json={"version": 2})
    ask(service, "PUT", f"{name()}/shadow", 404, json={"version": 2})
    ask(service, "PUT", f"{task}/shadow", 422, json={"version": 0})
    ask(service, "PUT", f"{task}/shadow", 422, json={})
    ask(service, "PUT", f"{task}/shadow", 400, content=b"")


def test_a_version_is_deleted_and_its_number_not_given_again(
    service: ServiceProcess, task: str
) -> None:
    for seed in (103, 104):
        train(service, task, examples=rows(20, seed=seed))
    refused = ask(service, "DELETE", f"{task}/versions/1", 409)["error"]
    assert refused["code"] == "version_active"
    deleted = ask(service, "DELETE", f"{task}/versions/2")
    assert (deleted["version"], deleted["deleted"]) == (2, True)
    for method, path in (
        ("GET", "versions/2"),
        ("DELETE", "versions/2"),
        ("GET", "versions/2/export"),
        ("POST", "versions/2/activate"),
    ):
        assert ask(service, method, f"{task}/{path}", 404)["error"]["code"] == "version_not_found"
    assert train(service, task, examples=rows(20, seed=105))["version"] == 3
    assert [one["version"] for one in ask(service, "GET", task)["versions"]] == [1, 3]
    assert service.predict("a ripe pear", tasks=[task])["data"][0]["predictions"][task]


@pytest.mark.parametrize("with_rows", [False, True])
def test_a_head_moves_as_one_file(service: ServiceProcess, task: str, with_rows: bool) -> None:
    train(service, task, examples=rows(120, seed=106))
    ask(service, "PATCH", f"{task}/versions/1", json={"min_confidence": 0.6})
    file = service.http.get(f"/v1/tasks/{task}/versions/1/export", params={"rows": with_rows})
    assert file.status_code == 200
    assert f"{task}-1.safetensors" in file.headers["content-disposition"]
    assert b"I bought" not in file.content  # codes and labels, never texts

    copy = name()
    made = ask(service, "POST", f"{copy}/versions/import", 201, content=file.content)
    assert (made["task"], made["version"], made["active"]) == (copy, 1, True)
    original = ask(service, "GET", f"{task}/versions/1")
    assert made["report"] == original["report"]
    assert made["settings"]["min_confidence"] == 0.6
    assert made["settings"]["coverage"] == (original["settings"]["coverage"] if with_rows else None)
    texts = [row["text"] for row in rows(40, seed=107)]
    for row in service.predict(texts, tasks=[task, copy], scores=True)["data"]:
        assert row["predictions"][copy] == row["predictions"][task]
    status = 202 if with_rows else 409
    job = ask(service, "POST", f"{copy}/versions", status, json={"base": 1})
    assert with_rows or job["error"]["code"] == "no_stored_rows"

    again = ask(service, "POST", f"{copy}/versions/import", 201, content=file.content)
    assert not again["active"]
    third = ask(
        service, "POST", f"{copy}/versions/import", 201, content=file.content,
        params={"activate": True},
    )  # fmt: skip
    assert third["active"]


def test_files_that_do_not_fit_are_refused(service: ServiceProcess, task: str) -> None:
    train(service, task, examples=rows(20, seed=108))
    file = service.http.get(f"/v1/tasks/{task}/versions/1/export").content
    for content in (b"", b"nothing of the kind", file[:-1], file[: len(file) // 2]):
        refused = ask(service, "POST", f"{task}/versions/import", 400, content=content)
        assert refused["error"]["message"]
    taken = name()
    ask(service, "PUT", taken, 201, json={"labels": ["x", "y"]})
    ask(service, "POST", f"{taken}/versions/import", 409, content=file)
    ask(service, "POST", f"{task}/versions/import", 422, content=file, params={"activate": "if"})
    refused = service.http.post(f"/v1/tasks/{'A'}/versions/import", content=file)
    assert refused.status_code == 422
    assert [one["version"] for one in ask(service, "GET", task)["versions"]] == [1]


def test_a_shipped_head_is_exported_with_its_card(service: ServiceProcess) -> None:
    file = service.http.get("/v1/tasks/clickbait/versions/1/export").content
    mine = name()
    ask(service, "POST", f"{mine}/versions/import", 201, content=file)
    assert ask(service, "GET", mine)["card"] == ask(service, "GET", "clickbait")["card"]
    assert not ask(service, "GET", mine)["ready_made"]
    ask(service, "DELETE", mine)
