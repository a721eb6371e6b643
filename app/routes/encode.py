"""POST /v1/encode: codes themselves."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.deps import Services, Watch, documented, json_body, requires, unless_disconnected
from app.routes.answers import json_answer
from app.schemas import EncodeRequest, EncodeResponse

router = APIRouter(prefix="/v1", tags=["encode"], dependencies=[requires("predict")])
RAW = "application/octet-stream"


@router.post(
    "/encode",
    response_model=EncodeResponse,
    openapi_extra=documented(EncodeRequest, {"inputs": ["One text.", "Another."]}),
    responses={200: {"content": {RAW: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def encode(
    request: Request,
    body: Annotated[EncodeRequest, Depends(json_body(EncodeRequest))],
    services: Services,
    watch: Watch,
) -> Response:
    """Codes of texts: JSON, or with `Accept: application/octet-stream` raw and back to back."""
    work = services.lookup.texts(body.inputs, watch, truncate=body.truncate)
    looked = await unless_disconnected(request, work)
    if RAW in request.headers.get("accept", ""):
        raw = b"".join(stored.code for stored in looked.codes)
        headers = watch.headers() | {
            "x-encoder": looked.info.fingerprint,
            "x-bits": str(looked.info.bits),
        }
        return Response(raw, headers=headers, media_type=RAW)
    data = [
        {
            "index": index,
            "key": digest.hex(),
            "code": base64.b64encode(stored.code).decode(),
            "cached": cached,
            "truncated": stored.truncated,
            "tokens": stored.tokens,
        }
        for index, (digest, stored, cached) in enumerate(
            zip(looked.digests, looked.codes, looked.cached, strict=True)
        )
    ]
    answer = {
        "data": data,
        "bits": looked.info.bits,
        "encoder": looked.info.fingerprint,
        "usage": looked.usage().model_dump(),
    }
    return json_answer(answer, watch)
