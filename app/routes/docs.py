"""/docs: the OpenAPI document for people, without a request to anyone else.

FastAPI's own page loads Swagger UI from a content delivery network; the service has to work where
there is none. The package `fastapi-offline` carries the files.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, RedirectResponse

ASSETS = "/docs/assets"


def lead_to_docs(app: FastAPI) -> None:
    """Lead / to the page of routes, where there is no console."""

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")


def add_docs(app: FastAPI) -> None:
    """Give `app` (made with `docs_url=None`) its page at /docs."""
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    app.mount(ASSETS, StaticFiles(directory=Path(spec.origin).parent / "static"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} – routes",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )
