"""Whatever is sent to the routes of versions, the answer is the contract's, never a 500."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_bad_input import DEEP, check_shape
from tests.api.test_tasks import name, rows, train
from tests.conftest import ServiceProcess

BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    DEEP,
    b"\xff\xfe",
    b'{"version": [null]}',
    b'{"version": "1"}' * 2,
    b'{"version": 1e400}',
    b'{"version": -1}',
    b'{"version": 99999999999999999999}',
    b'{"version": true, "a": [], "b": {}}',
    b'{"a": 1, "b": 1.5}',
    b'{"min_confidence": NaN}',
    b'{"min_confidence": -0.1}',
    b'{"thresholds": []}',
    b'{"thresholds": {"\\ud800": 0.5}}',
    b'{"thresholds": {"fruit": "0.5x"}}',
    b'{"tasks": [null]}',
    b'{"tasks": ["../.."]}',
    b'{"base": 1e9}',
    b'{"base": 1, "examples": [{"text": 1}]}',
    b'{"base": 1, "examples": [{"text": "a", "label": "\\udfff"}]}',
    b'{"base": 1, "test_examples": [{"text": "a", "label": "nobody knows it"}]}',
    b'{"examples": [{"text": "a", "label": "x", "labels": ["x"], "value": 1}]}',
    b'{"examples": [{"text": "a"}]}',
    b'{"examples": [{"text": "a", "label": "fruit"}], "seed": -1}',
    b'{"examples": [{"text": "a", "label": "fruit"}], "test_fraction": 1}',
    b'{"examples": [{"text": "a", "label": "fruit"}], "head": "forest"}',
]
ROUTES = [
    ("PATCH", "versions/1"),
    ("POST", "versions/compare"),
    ("POST", "versions/import"),
    ("POST", "versions"),
    ("POST", "versions/1/evaluate"),
    ("PUT", "shadow"),
    ("POST", "backfill"),
]


@pytest.fixture(scope="module")
def trained(service: ServiceProcess) -> str:
    """A task with one version. Not to be changed."""
    task = name()
    service.http.put(f"/v1/tasks/{task}", json={})
    train(service, task, examples=rows(20, seed=401))
    return task


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_bodies(service: ServiceProcess, trained: str, method: str, path: str) -> None:
    for body in BODIES:
        response = service.http.request(method, f"/v1/tasks/{trained}/{path}", content=body)
        assert 400 <= response.status_code < 500, (body[:80], response.text)
        check_shape(response)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x", "9" * 30, "%00", "1%2f..", "٣"])
def test_numbers_of_versions(service: ServiceProcess, trained: str, number: str) -> None:
    for method, more in (
        ("GET", ""),
        ("DELETE", ""),
        ("PATCH", ""),
        ("GET", "/export"),
        ("POST", "/activate"),
    ):
        path = f"/v1/tasks/{trained}/versions/{number}{more}"
        response = service.http.request(method, path, content=b"{}")
        assert response.status_code in (404, 405, 422), (path, response.text)
        check_shape(response)


def test_queries(service: ServiceProcess, trained: str) -> None:
    path = f"/v1/tasks/{trained}/versions"
    for method, query in (
        ("GET", "1/export?rows=perhaps"),
        ("POST", "import?activate=perhaps"),
        ("POST", "import?activate=true&activate=x"),
    ):
        response = service.http.request(method, f"{path}/{query}", content=b"")
        assert response.status_code in (400, 422), response.text
        check_shape(response)


@pytest.mark.parametrize(
    "form",
    [
        {"base": "0"},
        {"base": "one"},
        {"activate": "perhaps"},
        {"test_fraction": "nan"},
        {"test_fraction": "2"},
        {"class_weight": "heavy"},
        {"head": ""},
        {"text_column": "absent"},
        {"colour": "red"},
        {"base": "7"},
    ],
)
def test_forms(service: ServiceProcess, trained: str, form: dict[str, Any]) -> None:
    files = {"file": ("a.csv", b"text,label\na pear,fruit\na saw,tool\n")}
    response = service.http.post(f"/v1/tasks/{trained}/versions", data=form, files=files)
    assert response.status_code in (404, 422), response.text
    check_shape(response)


def test_after_all_that_it_answers_as_before(service: ServiceProcess, trained: str) -> None:
    task = service.http.get(f"/v1/tasks/{trained}").json()
    assert [version["version"] for version in task["versions"]] == [1]
    assert task["shadow_version"] is None
    assert service.predict("a ripe pear", tasks=[trained])["data"][0]["predictions"][trained]
    assert "Traceback" not in service.log.read_text()
