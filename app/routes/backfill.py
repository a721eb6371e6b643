"""POST /v1/tasks/{task}/backfill: a head over all stored codes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from app.deps import Services, documented, json_body
from app.routes.paths import MANAGE, TaskName
from app.schemas import BackfillRequest

router = APIRouter(prefix="/v1", tags=["tasks"])
NDJSON = "application/x-ndjson"


@router.post(
    "/tasks/{task}/backfill",
    dependencies=[MANAGE],
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
    openapi_extra=documented(BackfillRequest, {"version": 2}),
)
async def backfill(
    task: TaskName,
    body: Annotated[BackfillRequest, Depends(json_body(BackfillRequest))],
    services: Services,
) -> StreamingResponse:
    """Answer for all stored codes, a line of JSON each, without an encoder pass.

    The last line is `{"object": "backfill.done", "texts": ...}`, or an error if the server that
    holds codes went away. A key may come twice.
    """
    lines = await services.backfills.start(task, body)
    return StreamingResponse(lines, media_type=NDJSON)
