"""The encoder process's own routes, for api processes alone (see app/encoding/remote.py)."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import StrictBool, StrictStr
from starlette.responses import Response

from app.cache.keys import digest_texts
from app.deps import EncoderParts, open_call, requires
from app.encoding.remote import CLIENT_HEADER, write_result
from app.errors import EncoderUnavailable
from app.schemas import Request as Body
from app.tasks.lookup import Limits, check_texts

router = APIRouter(prefix="/internal", include_in_schema=False)
_CLIENT = re.compile(r"^[0-9A-Za-z.:%_-]{1,64}$")


class InternalEncodeRequest(Body):
    inputs: list[StrictStr]
    embeddings: StrictBool = False


@router.get("/encoder", dependencies=[requires("predict")])
async def encoder(request: Request, services: EncoderParts) -> dict[str, Any]:
    """The encoder's identity; 503 after SIGTERM, so that nothing new is sent here."""
    if request.app.draining.is_on:
        raise EncoderUnavailable("the encoder is shutting down", retry_after=2)
    return asdict(await services.encoder.info())


@router.post("/encode")
async def encode(
    request: Request,
) -> Response:
    """Encode texts that an api process did not find in the cache; their codes are cached."""
    body, services, call = await open_call(request, InternalEncodeRequest)
    settings = services.settings
    texts = check_texts(body.inputs, Limits(settings.max_inputs, settings.max_text_kb * 1024))
    info = await services.encoder.info()
    digests = digest_texts(info.fingerprint, texts)
    origin = call.origin
    # Callers of this route are api processes: what they say of their own callers is taken for true.
    client = request.headers.get(CLIENT_HEADER, "")
    if _CLIENT.match(client):
        origin = replace(origin, client=client)
    result = await call.guarded(
        services.encoder.encode(texts, digests, embeddings=body.embeddings, origin=origin)
    )
    return Response(write_result(info, result), media_type="application/json")
