"""POST /v1/encode: codes themselves."""

from __future__ import annotations

import base64

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.deps import documented, open_call
from app.routes.answers import json_answer
from app.schemas import EncodeRequest, EncodeResponse

router = APIRouter(prefix="/v1", tags=["encode"])
RAW = "application/octet-stream"


@router.post(
    "/encode",
    response_model=EncodeResponse,
    openapi_extra=documented(EncodeRequest, {"inputs": ["One text.", "Another."]}, timed=True),
    responses={200: {"content": {RAW: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def encode(
    request: Request,
) -> Response:
    """Codes of texts: JSON, or with `Accept: application/octet-stream` raw and back to back."""
    body, services, call = await open_call(request, EncodeRequest)
    looked = await services.lookup.texts(body.inputs, call, truncate=body.truncate)
    if RAW in request.headers.get("accept", ""):
        raw = b"".join(stored.code for stored in looked.codes)
        headers = call.headers() | {
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
        "usage": looked.usage(),
    }
    return json_answer(answer, call)
