"""What handlers need, as annotated types."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from app.auth import Keys
from app.cache.code_cache import CodeCache
from app.call import Call
from app.encoding.protocol import Origin, TextEncoder
from app.errors import BadRequest, Disconnected, from_validation
from app.metrics import Metrics
from app.settings import Settings
from app.tasks.backfill import Backfills
from app.tasks.curves import LearningCurves
from app.tasks.drift import DriftWatch
from app.tasks.jobs import JobStore
from app.tasks.lookup import Lookup
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from app.tasks.shadow import ShadowTraffic
from app.tasks.similar import SimilarTexts
from app.tasks.suspects import Suspicions
from app.tasks.trainer import Trainer
from app.watch import HEADER

if TYPE_CHECKING:
    from app.rates import Rates

Body = TypeVar("Body", bound=BaseModel)
# Schemas that documented bodies refer to; the app puts them among the document's components.
DEFINITIONS: dict[str, Any] = {}
TIMEOUT_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
    "description": "Milliseconds until the answer is of no use: then 504, and the work is dropped.",
}


@dataclass(frozen=True)
class EncoderServices:
    """What an encoder process holds."""

    settings: Settings
    metrics: Metrics
    keys: Keys
    cache: CodeCache
    encoder: TextEncoder
    rates: Rates | None  # None: no limit


@dataclass(frozen=True)
class ApiServices(EncoderServices):
    """What an api process holds on top."""

    registry: Registry
    lookup: Lookup
    predictions: PredictionService
    jobs: JobStore
    trainer: Trainer
    shadows: ShadowTraffic
    drift: DriftWatch
    backfills: Backfills
    curves: LearningCurves
    similar: SimilarTexts
    suspicions: Suspicions


async def _services(request: Request) -> Any:
    return request.app.state.services


Services = Annotated[ApiServices, Depends(_services)]
EncoderParts = Annotated[EncoderServices, Depends(_services)]


def requires(scope: str) -> Any:
    """A dependency that lets only keys with `scope` through."""

    async def check(request: Request) -> None:
        services: EncoderServices = request.app.state.services
        services.keys.check(request.headers.get("authorization"), scope)

    return Depends(check)


async def read_json(request: Request, model: type[Body]) -> Body:
    """Read a JSON body into `model`, whatever the content type says.

    pydantic reads the bytes itself: invalid UTF-8, lone surrogates and deep nesting are refused
    there, where a JSON parser ahead of it would let some through.

    Raises:
        BadRequest: no body, or not JSON.
        InvalidField: a field that cannot be used.
    """
    body = await read_body(request)
    if not body:
        raise BadRequest("the body is empty", code="empty_body")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise from_validation(error) from None


async def read_body(request: Request) -> bytes:
    """The whole body, by the messages themselves: Starlette's stream costs more than our parsing.

    Raises:
        Disconnected: the caller hung up in the middle.
    """
    parts = []
    while (message := await request.receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
    raise Disconnected("the caller hung up before its body was there")


async def open_call(
    request: Request, model: type[Body], needed: str = "predict"
) -> tuple[Body, Any, Call]:
    """Key checked, body read, clock started: what handlers need that look codes of texts up.

    One plain call instead of four dependencies (see app/main_path.py).
    """
    scope = request.scope
    services: EncoderServices = scope["app"].state.services
    client = services.keys.check(request.headers.get("authorization"), needed)
    if not client and scope.get("client"):  # without keys, an address is all that is known
        client = scope["client"][0]
    body = await read_json(request, model)
    if services.rates is not None:
        param, texts = _asked(body)
        await services.rates.take(client, texts, param)
    trace = scope["trace"].parent if "trace" in scope else ""
    return body, services, Call(request, Origin(client, scope.get("deadline", math.inf), trace))


def _asked(body: BaseModel) -> tuple[str, int]:
    """The field that holds a request's texts (or keys of codes), and how many there are."""
    for name in ("inputs", "input", "texts", "keys"):
        value = getattr(body, name, None)
        if value is not None:
            return name, 1 if isinstance(value, str) else len(value)
    return "inputs", 0  # refused later, in due form


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """`read_json` as a dependency, for the handlers off the main path."""

    async def read(request: Request) -> Body:
        return await read_json(request, model)

    return read


def documented(
    model: type[BaseModel], example: dict[str, Any], *, timed: bool = False
) -> dict[str, Any]:
    """OpenAPI's part for a body read by `json_body`; `timed` where a deadline ends the work."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    DEFINITIONS.update(schema.pop("$defs", {}))
    content = {"application/json": {"schema": schema, "example": example}}
    body = {"requestBody": {"required": True, "content": content}}
    return body | {"parameters": [TIMEOUT_PARAMETER]} if timed else body
