"""POST /v1/similar, and the rows of a version whose labels look wrong."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.deps import Services, documented, open_call
from app.routes.answers import json_answer
from app.routes.paths import MANAGE, TaskName, VersionNumber
from app.schemas import SimilarRequest, SimilarResponse, Suspects

router = APIRouter(prefix="/v1", tags=["similar"])
EXAMPLE = {"inputs": ["My card still has not arrived!"], "limit": 5, "max_distance": 300}


@router.post(
    "/similar",
    response_model=SimilarResponse,
    openapi_extra=documented(SimilarRequest, EXAMPLE, timed=True),
)
async def similar(request: Request) -> Response:
    """The stored codes nearest to texts by Hamming distance, or a version's labelled rows.

    Codes that others stored are named, so this needs the scope `manage`.
    """
    body, services, call = await open_call(request, SimilarRequest, "manage")
    return json_answer(await services.similar.answer(body, call), call)


@router.get("/tasks/{task}/versions/{version}/suspects", dependencies=[MANAGE])
async def suspects(
    task: TaskName,
    version: VersionNumber,
    services: Services,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    neighbours: Annotated[int, Query(ge=0, le=10, description="Shown of each row.")] = 5,
) -> Suspects:
    """Rows that a version was made from whose label their neighbours and other rows' heads doubt.

    Fits a few heads: seconds, not milliseconds.
    """
    return await services.suspicions.of(task, version, limit, neighbours)
