"""The encoder process's own routes, for api processes alone (see app/encoding/remote.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import StrictBool, StrictStr
from starlette.responses import Response

from app.cache.keys import digest_texts
from app.deps import EncoderParts, json_body, requires, unless_disconnected
from app.encoding.remote import write_result
from app.schemas import Request as Body
from app.tasks.lookup import Limits, check_texts

router = APIRouter(prefix="/internal", dependencies=[requires("predict")], include_in_schema=False)


class InternalEncodeRequest(Body):
    inputs: list[StrictStr]
    embeddings: StrictBool = False


@router.get("/encoder")
async def encoder(services: EncoderParts) -> dict[str, Any]:
    """The encoder's identity."""
    return asdict(await services.encoder.info())


@router.post("/encode")
async def encode(
    request: Request,
    body: Annotated[InternalEncodeRequest, Depends(json_body(InternalEncodeRequest))],
    services: EncoderParts,
) -> Response:
    """Encode texts that an api process did not find in the cache; their codes are cached."""
    settings = services.settings
    texts = check_texts(body.inputs, Limits(settings.max_inputs, settings.max_text_kb * 1024))
    info = await services.encoder.info()
    digests = digest_texts(info.fingerprint, texts)
    result = await unless_disconnected(
        request, services.encoder.encode(texts, digests, embeddings=body.embeddings)
    )
    return Response(write_result(info, result), media_type="application/json")
