"""POST /v1/predict."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.deps import Services, Watch, documented, json_body, requires, unless_disconnected
from app.routes.answers import json_answer
from app.schemas import PredictRequest, PredictResponse

router = APIRouter(prefix="/v1", tags=["predict"], dependencies=[requires("predict")])
EXAMPLE = {"inputs": ["I love how fast this is!"], "tasks": ["sentiment", "emotion"]}


@router.post(
    "/predict",
    response_model=PredictResponse,
    openapi_extra=documented(PredictRequest, EXAMPLE),
)
async def predict(
    request: Request,
    body: Annotated[PredictRequest, Depends(json_body(PredictRequest))],
    services: Services,
    watch: Watch,
) -> Response:
    """Answer tasks about texts, or about stored codes by their keys."""
    answer = await unless_disconnected(request, services.predictions.predict(body, watch))
    return json_answer(answer, watch)
