"""POST /v1/tasks/{task}/backfill: heads over all stored codes."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.types import Send

from app.deps import Services, documented, json_body
from app.errors import CacheUnavailable
from app.routes.paths import MANAGE, TaskName
from app.schemas import BackfillRequest

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1", tags=["tasks"])
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"


class Pieces(StreamingResponse):
    """A stream that is cut off, not ended, when it cannot go on: nobody takes it for whole."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except CacheUnavailable as error:
            logger.warning("a backfill was cut off: %s", error.message)


@router.post(
    "/tasks/{task}/backfill",
    dependencies=[MANAGE],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                NDJSON: {"schema": {"type": "string"}},
                PARQUET: {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
    openapi_extra=documented(BackfillRequest, {"version": 2}),
)
async def backfill(
    task: TaskName,
    body: Annotated[BackfillRequest, Depends(json_body(BackfillRequest))],
    request: Request,
    services: Services,
) -> StreamingResponse:
    """Answer for all stored codes, without an encoder pass: a line of JSON each, or as Parquet.

    The last line is `{"object": "backfill.done", "texts": ...}`, or an error if the server that
    holds codes went away. A Parquet file (`"format": "parquet"`, or `Accept:
    application/vnd.apache.parquet`) ends with its footer, or is cut off and cannot be read. A key
    may come twice.
    """
    asked = PARQUET in request.headers.get("accept", "")
    form = body.format or ("parquet" if asked else "ndjson")
    pieces = await services.backfills.start(task, body, form)
    return Pieces(pieces, media_type=PARQUET if form == "parquet" else NDJSON)
