"""POST /v1/predict."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.deps import documented, open_call
from app.routes.answers import json_answer
from app.schemas import PredictRequest, PredictResponse

router = APIRouter(prefix="/v1", tags=["predict"])
EXAMPLE = {"inputs": ["I love how fast this is!"], "tasks": ["sentiment", "emotion"]}


@router.post(
    "/predict",
    response_model=PredictResponse,
    openapi_extra=documented(PredictRequest, EXAMPLE, timed=True),
)
async def predict(
    request: Request,
) -> Response:
    """Answer tasks about texts, or about stored codes by their keys."""
    body, services, call = await open_call(request, PredictRequest)
    return json_answer(await services.predictions.predict(body, call), call)
