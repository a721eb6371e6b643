"""What handlers need, as annotated types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from app.auth import Keys
from app.cache.code_cache import CodeCache
from app.clock import Stopwatch
from app.encoding.protocol import TextEncoder
from app.errors import BadRequest, Disconnected, from_validation
from app.metrics import Metrics
from app.settings import Settings
from app.tasks.jobs import JobStore
from app.tasks.lookup import Lookup
from app.tasks.registry import Registry
from app.tasks.service import PredictionService
from app.tasks.trainer import Trainer

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


@dataclass(frozen=True)
class EncoderServices:
    """What an encoder process holds."""

    settings: Settings
    metrics: Metrics
    keys: Keys
    cache: CodeCache
    encoder: TextEncoder


@dataclass(frozen=True)
class ApiServices(EncoderServices):
    """What an api process holds on top."""

    registry: Registry
    lookup: Lookup
    predictions: PredictionService
    jobs: JobStore
    trainer: Trainer


async def _services(request: Request) -> Any:
    return request.app.state.services


async def _watch() -> Stopwatch:
    return Stopwatch()


Services = Annotated[ApiServices, Depends(_services)]
EncoderParts = Annotated[EncoderServices, Depends(_services)]
Watch = Annotated[Stopwatch, Depends(_watch)]


def requires(scope: str) -> Any:
    """A dependency that lets only keys with `scope` through."""

    async def check(request: Request) -> None:
        services: EncoderServices = request.app.state.services
        services.keys.check(request.headers.get("authorization"), scope)

    return Depends(check)


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads a JSON body into `model`, whatever the content type says.

    pydantic reads the bytes itself: invalid UTF-8, lone surrogates and deep nesting are refused
    there, where a JSON parser ahead of it would let some through.
    """

    async def read(request: Request) -> Body:
        body = await request.body()
        if not body:
            raise BadRequest("the body is empty", code="empty_body")
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise from_validation(error) from None

    return read


def documented(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's part for a body read by `json_body`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work`; cancel it when the caller hangs up, so that nobody's texts are not encoded."""
    task = asyncio.ensure_future(work)
    # What is answered without waiting (all hits) never needs the listener.
    await asyncio.sleep(0)
    if task.done():
        return task.result()
    listener = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, listener}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Disconnected("the caller hung up")
        return task.result()
    finally:
        listener.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
