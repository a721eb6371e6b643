"""Drift over HTTP: real questions of a bank's customers, then texts of another kind."""

from __future__ import annotations

import csv
import random
from typing import Any

import pytest
from polyhead import Client

from tests.api.test_tasks import name, rows, task, train
from tests.conftest import ROOT, ServiceProcess

__all__ = ["task"]  # a fixture


def bank_rows() -> list[dict[str, str]]:
    """Two hundred questions of a bank's customers, in random order."""
    with (ROOT / "examples/card-support.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    random.Random(0).shuffle(found)
    return [{"text": row["text"], "label": row["label"]} for row in found]


def foreign_texts() -> list[str]:
    """Sentences about software: the points of this project's changelog."""
    points = (ROOT / "CHANGELOG.md").read_text().split("\n- ")[1:]
    return [" ".join(point.split())[:200] for point in points][:60]


@pytest.fixture
def bank(service: ServiceProcess) -> str:
    """A task trained on 120 of the questions; the others are asked of it."""
    task = name()
    assert service.http.put(f"/v1/tasks/{task}", json={}).status_code == 201
    found = bank_rows()
    done = train(service, task, examples=found[:120], test_examples=found[120:130])
    assert done["status"] == "succeeded", done
    return task


def drift(service: ServiceProcess, task: str) -> Any:
    response = service.http.get(f"/v1/tasks/{task}/drift")
    assert response.status_code == 200, response.text
    return response.json()


def test_like_texts_are_no_drift_and_foreign_ones_are(service: ServiceProcess, bank: str) -> None:
    unseen = drift(service, bank)
    assert (unseen["drift"], unseen["shifted"], unseen["texts"]) == (None, None, 0)
    assert unseen["reason"] == "0 different texts were asked, 30 are needed"

    alike = [row["text"] for row in bank_rows()[130:]]
    service.predict(alike, tasks=[bank])
    for text in alike[:20]:  # asked again, from the cache: counted once
        service.predict(text, tasks=[bank, "sentiment"])
    like = drift(service, bank)
    assert like["texts"] == len(set(alike))
    assert like["drift"] < 1
    assert like["shifted"] is False
    assert like["distance"] < 0.2
    assert like["training_rows"] == 120
    assert sum(one["live"] for one in like["answers"]["labels"]) == pytest.approx(1, abs=0.01)
    gauge = f'polyhead_task_drift{{task="{bank}"}}'
    assert service.metric(gauge) == pytest.approx(like["drift"], abs=1e-4)

    service.predict(foreign_texts(), tasks=[bank])
    shifted = drift(service, bank)
    assert shifted["drift"] > 1.5
    assert shifted["shifted"] is True
    assert shifted["distance"] > like["distance"] + 0.2
    assert service.metric(gauge) > 1.5
    assert service.http.get("/v1/stats").json()["drift"][bank] == shifted["drift"]
    with Client(service.url) as client:
        assert client.tasks.drift(bank).drift == shifted["drift"]
        assert next(one for one in client.tasks.drifts() if one.task == bank).shifted

    assert service.http.delete(f"/v1/tasks/{bank}").status_code == 200
    assert gauge not in service.http.get("/metrics").text
    assert service.http.get(f"/v1/tasks/{bank}/drift").status_code == 404


def test_frequencies_travel_with_a_head(service: ServiceProcess, bank: str, task: str) -> None:
    file = service.http.get(f"/v1/tasks/{bank}/versions/1/export").content
    raw = {"content-type": "application/octet-stream"}
    path = f"/v1/tasks/{task}/versions/import"
    assert service.http.post(path, content=file, headers=raw).status_code == 201
    texts = [row["text"] for row in bank_rows()[130:]]
    service.predict(texts, tasks=[bank, task])
    assert drift(service, task) | {"task": bank, "since": 0} == drift(service, bank) | {"since": 0}


def test_without_frequencies_there_is_no_number(service: ServiceProcess, task: str) -> None:
    assert drift(service, task)["reason"] == "no version is active"
    train(service, task, examples=rows(12, seed=5))
    service.predict([row["text"] for row in rows(40, seed=6)], tasks=[task])
    found = drift(service, task)
    assert found["drift"] is None
    assert "20 or more training rows" in found["reason"]
    assert found["texts"] > 30


def test_a_task_made_anew_knows_nothing_of_the_old_one_s_texts(
    service: ServiceProcess, bank: str
) -> None:
    service.predict([row["text"] for row in bank_rows()[130:]], tasks=[bank])
    assert drift(service, bank)["texts"] > 0
    service.http.delete(f"/v1/tasks/{bank}")
    assert service.http.put(f"/v1/tasks/{bank}", json={}).status_code == 201
    assert drift(service, bank)["texts"] == 0
