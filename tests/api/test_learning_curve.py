"""GET .../versions/{n}/learning-curve."""

from __future__ import annotations

from tests.api.test_tasks import rows, task, train
from tests.conftest import ServiceProcess

__all__ = ["task"]  # a fixture


def path(task: str, version: int) -> str:
    return f"/v1/tasks/{task}/versions/{version}/learning-curve"


def test_a_version_has_a_curve_that_ends_in_its_own_accuracy(
    service: ServiceProcess, task: str
) -> None:
    report = train(service, task, examples=rows(150))["report"]
    answer = service.http.get(path(task, 1))
    assert answer.status_code == 200, answer.text
    curve = answer.json()
    assert (curve["task"], curve["version"]) == (task, 1)
    assert curve["n_test"] == report["n_test"]
    assert [point["rows"] for point in curve["data"]] == sorted(p["rows"] for p in curve["data"])
    assert curve["data"][-1]["rows"] == report["n_train"]
    assert curve["data"][-1]["accuracy"] == report["accuracy"]
    assert service.http.get(path(task, 1)).json() == curve


def test_without_held_out_rows_there_is_none(service: ServiceProcess, task: str) -> None:
    answer = service.http.get(path("sentiment", 1))
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "no_stored_rows"
    train(service, task, examples=rows(20))
    assert service.http.get(path(task, 1)).status_code == 409
    assert service.http.get(path(task, 9)).status_code == 404
    assert service.http.get(path("nothing-here", 1)).status_code == 404
