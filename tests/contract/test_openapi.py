"""The OpenAPI document and the routes agree; no route forgets its key."""

from __future__ import annotations

import json
import re

from fastapi import FastAPI

from app.main import API_MAIN_PATH, ENCODER_MAIN_PATH
from tests.conftest import ServiceProcess

OPEN = {"/health", "/ready"}
EXPECTED = {
    ("post", "/v1/predict"),
    ("post", "/v1/encode"),
    ("post", "/v1/embeddings"),
    ("post", "/v2/embed"),
    ("get", "/v1/models"),
    ("get", "/v1/tasks"),
    ("get", "/v1/tasks/{task}"),
    ("put", "/v1/tasks/{task}"),
    ("delete", "/v1/tasks/{task}"),
    ("post", "/v1/tasks/{task}/versions"),
    ("get", "/v1/tasks/{task}/versions/{version}"),
    ("patch", "/v1/tasks/{task}/versions/{version}"),
    ("delete", "/v1/tasks/{task}/versions/{version}"),
    ("get", "/v1/tasks/{task}/versions/{version}/export"),
    ("get", "/v1/tasks/{task}/versions/{version}/learning-curve"),
    ("post", "/v1/tasks/{task}/versions/import"),
    ("post", "/v1/tasks/{task}/versions/{version}/evaluate"),
    ("post", "/v1/tasks/{task}/backfill"),
    ("post", "/v1/similar"),
    ("get", "/v1/tasks/{task}/versions/{version}/suspects"),
    ("put", "/v1/tasks/{task}/shadow"),
    ("get", "/v1/tasks/{task}/shadow"),
    ("delete", "/v1/tasks/{task}/shadow"),
    ("get", "/v1/tasks/{task}/drift"),
    ("get", "/v1/drift"),
    ("post", "/v1/tasks/{task}/versions/{version}/activate"),
    ("post", "/v1/tasks/{task}/versions/compare"),
    ("get", "/v1/retraining"),
    ("get", "/v1/jobs"),
    ("get", "/v1/jobs/{job_id}"),
    ("get", "/v1/stats"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/info"),
    ("get", "/metrics"),
}


def operations(document: dict) -> set[tuple[str, str]]:  # type: ignore[type-arg]
    return {(method, path) for path, item in document["paths"].items() for method in item}


def test_the_document_has_the_contract(service: ServiceProcess) -> None:
    document = service.http.get("/openapi.json").json()
    assert operations(document) == EXPECTED
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path in API_MAIN_PATH:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert body["example"]
        assert body["schema"]["properties"]


def test_the_docs_page_asks_nobody_else(service: ServiceProcess) -> None:
    page = service.http.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 3
    for link in links:
        assert link.startswith("/")
        assert service.http.get(link).status_code == 200


def test_every_reference_of_the_document_leads_somewhere(service: ServiceProcess) -> None:
    text = service.http.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    references = set(re.findall(r'"\$ref":\s*"([^"]+)"', text))
    assert "#/components/schemas/Example" in references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_examples_of_the_document_work(service: ServiceProcess) -> None:
    document = service.http.get("/openapi.json").json()
    for path in API_MAIN_PATH:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert service.http.post(path, json=body["example"]).status_code == 200


def test_the_reference_is_current() -> None:
    """Else: `make docs`."""
    from app.main import create_api_app
    from app.settings import Settings
    from scripts.api_reference import PAGE, page_of, scopes_of

    app = create_api_app(Settings(role="api", encoder_url="http://127.0.0.1:9"))
    assert PAGE.read_text() == page_of(app)
    scopes = scopes_of(app)
    assert operations(app.openapi()) - set(scopes) == {("get", path) for path in OPEN}
    assert scopes["delete", "/v1/tasks/{task}"] == "manage"
    assert scopes["post", "/v1/predict"] == scopes["get", "/v1/tasks"] == "predict"


async def test_every_route_needs_a_key() -> None:
    """In process, without an encoder: keys are checked before anything else is touched."""
    from types import SimpleNamespace

    import httpx

    from app.auth import Keys
    from app.main import create_api_app, create_encoder_app
    from app.settings import Settings

    settings = Settings(role="api", encoder_url="http://127.0.0.1:9")
    for create, main_path in (
        (create_api_app, API_MAIN_PATH),
        (create_encoder_app, ENCODER_MAIN_PATH),
    ):
        app: FastAPI = create(settings)
        app.state.services = SimpleNamespace(keys=Keys({"a-key-of-ours": "manage"}))
        transport = httpx.ASGITransport(app=app)  # which runs no lifespan
        client = httpx.AsyncClient(transport=transport, base_url="http://test")
        checked = set()
        for method, path in operations(app.openapi()) | {("post", p) for p in main_path}:
            if path in OPEN:
                continue
            concrete = re.sub(
                r"{version}", "1", re.sub(r"{\w+}", "a", path.replace("{version}", "1"))
            )
            response = await client.request(method, concrete, json={})
            assert response.status_code == 401, (method, path, response.text)
            checked.add(path)
        assert checked
    assert (await client.get("/internal/encoder")).status_code == 401
