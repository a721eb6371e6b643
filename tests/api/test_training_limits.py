"""Trainings that would not fit are refused before anything is encoded, bases counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.api.test_tasks import name, rows, train
from tests.conftest import ServiceProcess


def refused(service: ServiceProcess, task: str, **body: Any) -> dict[str, Any]:
    response = service.http.post(f"/v1/tasks/{task}/versions", json=body)
    assert response.status_code == 422, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["param"] == "examples"
    return error


def test_rows_of_a_base_count(processes: Callable[..., ServiceProcess], tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_MAX_EXAMPLES="50")
    task = name()
    service.http.put(f"/v1/tasks/{task}", json={})
    assert "51 are over" in refused(service, task, examples=rows(51))["message"]
    assert refused(service, task, examples=rows(40), test_examples=rows(20, seed=1))
    assert train(service, task, examples=rows(40))["status"] == "succeeded"
    message = refused(service, task, examples=rows(20, seed=2), base=1)["message"]
    assert "60, 40 of them of the base, are over the limit of 50" in message
    assert train(service, task, examples=rows(10, seed=3), base=1)["report"]["n_train"] == 50


def test_rows_times_labels_are_limited(service: ServiceProcess) -> None:
    task = name()
    labels = [str(number) for number in range(10_000)]
    service.http.put(f"/v1/tasks/{task}", json={"kind": "multi_label", "labels": labels})
    examples = [{"text": f"text {number}", "labels": []} for number in range(5_001)]
    before = service.metric("polyhead_encoder_passes_total")
    assert "rows times labels" in refused(service, task, examples=examples)["message"]
    assert service.metric("polyhead_encoder_passes_total") == before
    service.http.delete(f"/v1/tasks/{task}")
