"""A key of scope predict asks and manages nothing: of all operations, also those to come."""

from __future__ import annotations

import re
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from app.auth import Keys
from app.main import API_MAIN_PATH, create_api_app
from app.settings import Settings

OPEN = {"/health", "/ready"}
# Reading of jobs is not for it: their errors and reports are about others' examples.
READ = {
    ("get", "/info"),
    ("get", "/metrics"),
    ("get", "/v1/drift"),
    ("get", "/v1/models"),
    ("get", "/v1/retraining"),
    ("get", "/v1/stats"),
    ("get", "/v1/tasks"),
    ("get", "/v1/tasks/{task}"),
    ("get", "/v1/tasks/{task}/drift"),
    ("get", "/v1/tasks/{task}/versions/{version}"),
    ("post", "/v1/tasks/{task}/versions/compare"),  # two reports in one, nothing is changed
}


def is_asking(method: str, path: str) -> bool:
    """Whether a predict key may do it: predictions, and reading what there is."""
    return path in OPEN or path in API_MAIN_PATH or (method, path) in READ


@pytest.fixture
def app() -> FastAPI:
    """In process and without services: whatever passes the key check ends in a 500."""
    app = create_api_app(Settings(role="api", encoder_url="http://127.0.0.1:9"))
    app.state.services = SimpleNamespace(
        keys=Keys({"a-predict-key": "predict", "a-manage-key": "manage"})
    )
    return app


async def status(app: FastAPI, method: str, path: str, key: str) -> int:
    concrete = re.sub(r"{\w+}", "a", path.replace("{version}", "1"))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        headers = {"authorization": f"Bearer {key}"}
        response = await client.request(method, concrete, json={}, headers=headers)
    return response.status_code


async def test_a_predict_key_manages_nothing(app: FastAPI) -> None:
    refused = set()
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            if is_asking(method, path):
                continue
            assert await status(app, method, path, "a-predict-key") == 403, (method, path)
            assert await status(app, method, path, "a-manage-key") != 403, (method, path)
            refused.add((method, path))
    assert ("put", "/v1/tasks/{task}") in refused
    assert ("post", "/v1/tasks/{task}/versions") in refused
    assert ("get", "/v1/jobs") in refused


@pytest.mark.parametrize(
    "key", ["a-predict-key2", "a-predict-ke", "A-PREDICT-KEY", "a-predict-key,manage"]
)
async def test_a_key_nearly_right_is_wrong(app: FastAPI, key: str) -> None:
    assert await status(app, "get", "/v1/tasks", key) == 401


def test_clients_of_keys_are_told_apart_and_say_nothing_of_them() -> None:
    keys = Keys({"a-predict-key": "predict", "a-manage-key": "manage"})
    names = [keys.check(f"Bearer {key}", "predict") for key in ("a-predict-key", "a-manage-key")]
    assert len(set(names)) == 2
    assert names[0] == Keys({"a-predict-key": "predict"}).check("bearer a-predict-key", "predict")
    assert all(re.fullmatch(r"[0-9a-f]{24}", name) for name in names)
    assert Keys({}).check(None, "predict") == ""
