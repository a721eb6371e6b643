"""POST /v2/embed: Cohere's request and response.

The float vector is the code as ±1/√bits, as in `/v1/embeddings`; `binary` and `ubinary` are the
code itself, most significant bit first.
"""

from __future__ import annotations

import base64
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from app.deps import documented, open_call
from app.errors import InvalidField
from app.routes.answers import json_answer
from app.schemas import CohereEmbedRequest, CohereEmbedResponse
from app.tasks.lookup import Looked
from models.codes import stack_codes, unpack_signs
from models.encoder import EncoderInfo

router = APIRouter(prefix="/v2", tags=["encode"])
EXAMPLE = {
    "model": "polyhead",
    "input_type": "classification",
    "texts": ["One text.", "Another."],
    "embedding_types": ["float", "ubinary"],
}


@router.post(
    "/embed",
    response_model=CohereEmbedResponse,
    openapi_extra=documented(CohereEmbedRequest, EXAMPLE, timed=True),
)
async def embed(request: Request) -> Response:
    """Embeddings of texts, in each of the types that are asked for."""
    body, services, call = await open_call(request, CohereEmbedRequest)
    texts, name = _texts(body)
    _check(body, await services.lookup.info())
    looked = await services.lookup.texts(texts, call, name=name)
    _refuse_cut(body, looked, name)
    codes = stack_codes([stored.code for stored in looked.codes])
    tokens = looked.usage()["prompt_tokens"]
    answer = {
        "id": str(uuid.uuid4()),
        "response_type": "embeddings_by_type",
        "embeddings": {
            wanted: _written(wanted, codes, looked.info.bits)
            for wanted in dict.fromkeys(body.embedding_types or ["float"])
        },
        "texts": texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
    }
    return json_answer(answer, call)


def _texts(body: CohereEmbedRequest) -> tuple[list[str], str]:
    """The texts, and the field that they are in."""
    if body.images:
        raise InvalidField("images: this encoder reads texts alone", param="images")
    if (body.texts is None) == (body.inputs is None):
        raise InvalidField("give either texts or inputs", param="texts")
    if body.texts is not None:
        return body.texts, "texts"
    texts = []
    for place, one in enumerate(body.inputs or []):
        if len(one.content) != 1 or one.content[0].text is None:
            raise InvalidField(
                f"inputs[{place}]: its content must be one text", param=f"inputs[{place}]"
            )
        texts.append(one.content[0].text)
    return texts, "inputs"


def _check(body: CohereEmbedRequest, info: EncoderInfo) -> None:
    if body.output_dimension not in (None, info.bits):
        raise InvalidField(
            f"output_dimension: this encoder has {info.bits} and no other", param="output_dimension"
        )
    if body.max_tokens is not None and body.max_tokens < info.max_tokens:
        raise InvalidField(
            f"max_tokens: this encoder reads up to {info.max_tokens} tokens and cuts nowhere else",
            param="max_tokens",
        )


def _refuse_cut(body: CohereEmbedRequest, looked: Looked, name: str) -> None:
    """Texts are cut at their end: who asked for another cut must not get that one."""
    if body.truncate == "END":
        return
    for place, stored in enumerate(looked.codes):
        if stored.truncated:
            why = "truncate is NONE" if body.truncate == "NONE" else "only its end can be cut"
            raise InvalidField(
                f"{name}[{place}] is over the limit of {looked.info.max_tokens} tokens, and {why}",
                param=f"{name}[{place}]",
                code="text_too_long",
            )


def _written(wanted: str, codes: NDArray[np.uint8], bits: int) -> list[Any]:
    """One entry a text."""
    if wanted == "ubinary":
        return list(codes.tolist())
    if wanted == "binary":
        return list((codes.astype(np.int16) - 128).tolist())
    signs = unpack_signs(codes)
    if wanted in ("int8", "uint8"):  # the same direction, as long as a byte allows
        whole = signs.astype(np.int16) * 127
        return list((whole + 128 if wanted == "uint8" else whole).tolist())
    vectors = (signs / np.float32(np.sqrt(bits))).astype("<f4")
    if wanted == "base64":
        return [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    return list(vectors.tolist())
