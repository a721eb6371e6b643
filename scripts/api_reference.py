"""Write docs/api.md from the service's own OpenAPI document.

    python -m scripts.api_reference          # writes it
    python -m scripts.api_reference --check  # 1 if it is not current

A test runs the check, so that the page cannot fall behind the routes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.main import API_MAIN_PATH, create_api_app
from app.routes.paths import MANAGE, PREDICT
from app.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
ERROR = "ErrorResponse"
TAGS = {
    "predict": "Predict",
    "encode": "Encode",
    "tasks": "Tasks",
    "similar": "Similar texts",
    "operations": "Operations",
}
HEAD = """# HTTP

<!-- Written by `python -m scripts.api_reference`; do not edit. -->

A running service has the same at `/docs`, to be tried out, and at `/openapi.json` for programs.
Keys, where there are any, go into `Authorization: Bearer KEY`; a `manage` key may do all that a
`predict` key may. How routes are used together is in [the tutorials](tutorials/first-task.md).
"""


def main() -> int:
    """Write the page, or check it."""
    page = page_of(create_api_app(Settings(role="api", encoder_url="http://127.0.0.1:9")))
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text() != page)
    PAGE.write_text(page)
    return 0


def page_of(app: FastAPI) -> str:
    """The whole page."""
    document = app.openapi()
    scopes = scopes_of(app)
    parts = [HEAD, *errors(document)]
    for tag, title in TAGS.items():
        parts.append(f"## {title}\n")
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if tag in operation["tags"]:
                    parts += route(method, path, operation, scopes.get((method, path), "none"))
    parts.append("## Types\n")
    types = document["components"]["schemas"]
    for name in sorted(set(types) - {ERROR, "ErrorBody"}):
        parts += [f"### {name}\n", *fields(types[name])]
    return "\n".join(parts).rstrip() + "\n"


def scopes_of(app: FastAPI) -> dict[tuple[str, str], str]:
    """The key that each operation needs."""
    found = {("post", path): "predict" for path in API_MAIN_PATH}
    found["post", "/v1/similar"] = "manage"  # checks it itself, as those of the main path do
    for one in api_routes(app.routes):
        for depends in one.dependencies:
            for scope, wanted in (("predict", PREDICT), ("manage", MANAGE)):
                if depends.dependency is wanted.dependency:
                    found |= {(method.lower(), one.path): scope for method in one.methods or ()}
    return found


def api_routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """The routes, those of included routers too: FastAPI keeps such a router as one entry."""
    for one in routes:
        if isinstance(one, APIRoute):
            yield one
        elif (router := getattr(one, "original_router", None)) is not None:
            yield from api_routes(router.routes)


def errors(document: Mapping[str, Any]) -> Iterator[str]:
    """What all routes have in common: statuses of errors and their form."""
    yield "## Errors\n"
    yield (
        'Every error is `{"error": {"message", "type", "param", "code"}}`; `param` names the '
        "field, where there is one. 429 and 503 come with `Retry-After`, in seconds.\n"
    )
    yield "| status | meaning |\n| ---: | --- |"
    found = {}
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if ERROR in json.dumps(answer):
                    found[status] = answer["description"]
    yield from (f"| {status} | {found[status]} |" for status in sorted(found))
    yield ""


def route(method: str, path: str, operation: Mapping[str, Any], scope: str) -> Iterator[str]:
    """One operation."""
    yield f"### {method.upper()} {path}\n"
    yield f"{operation.get('description', operation['summary']).strip()}\n"
    if scope != "none":
        yield f"Key: `{scope}`.\n"
    rows = [
        (f"{one['name']} ({one['in']})", one["schema"], one.get("description", ""))
        for one in operation.get("parameters", [])
        if one["in"] != "path"
    ]
    if rows:
        yield from table(rows, set())
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{kind}`:\n"
        yield from fields(body["schema"])
        if "example" in body:
            yield f"```json\n{json.dumps(body['example'])}\n```\n"
    yield f"Answer: {'; '.join(answers(operation))}.\n"


def answers(operation: Mapping[str, Any]) -> Iterator[str]:
    """The statuses of success and what comes with them."""
    for status, answer in sorted(operation["responses"].items()):
        if ERROR in json.dumps(answer):
            continue
        told = [
            f"{type_of(content['schema'])} as `{kind}`"
            for kind, content in answer.get("content", {}).items()
            if content.get("schema")
        ]
        yield f"{status}{' ' if told else ''}{' or '.join(told)}"


def fields(schema: Mapping[str, Any]) -> Iterator[str]:
    """A table of an object's fields; in a line what is none."""
    if "properties" not in schema:
        yield f"{type_of(schema)}\n"
        return
    rows = [(name, one, one.get("description", "")) for name, one in schema["properties"].items()]
    yield from table(rows, set(schema.get("required", [])))


def table(rows: list[tuple[str, Mapping[str, Any], str]], required: set[str]) -> Iterator[str]:
    """Fields with their types, defaults and meanings."""
    yield "| field | type | meaning |\n| --- | --- | --- |"
    for name, schema, meaning in rows:
        kind = type_of(schema)
        if name in required:
            kind += ", required"
        elif schema.get("default") is not None:
            kind += f", else `{json.dumps(schema['default'])}`"
        yield f"| `{name}` | {kind} | {' '.join(meaning.split())} |".replace("  |", " |")
    yield ""


def type_of(schema: Mapping[str, Any]) -> str:
    """A type as people say it, without a bar: it stands in tables."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "bytes"
    if isinstance(values := schema.get("additionalProperties"), Mapping):
        return f"object of {type_of(values)}"
    names: str = schema.get("type", "any")
    return names + bounds(schema)


def bounds(schema: Mapping[str, Any]) -> str:
    """How far a number may go."""
    ends = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "under {}",
    }
    told = [text.format(schema[name]) for name, text in ends.items() if name in schema]
    return f" {' '.join(told)}" if told else ""


if __name__ == "__main__":
    sys.exit(main())
