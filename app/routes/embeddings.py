"""POST /v1/embeddings: OpenAI's request and response.

By default the vector is the code as ±1/√bits, which is cached; `"precision": "full"` asks the
encoder for the float embedding, of unit length.
"""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from app.deps import documented, open_call
from app.errors import InvalidField
from app.routes.answers import json_answer
from app.schemas import EmbeddingsRequest, EmbeddingsResponse
from app.tasks.lookup import Looked
from models.codes import stack_codes, unpack_signs

router = APIRouter(prefix="/v1", tags=["encode"])


@router.post(
    "/embeddings",
    response_model=EmbeddingsResponse,
    openapi_extra=documented(
        EmbeddingsRequest, {"input": ["One text."], "model": "polyhead"}, timed=True
    ),
)
async def embeddings(
    request: Request,
) -> Response:
    """Embeddings of texts."""
    body, services, call = await open_call(request, EmbeddingsRequest)
    full = body.precision == "full"
    find = services.lookup.embeddings if full else services.lookup.texts
    looked = await find(body.input, call, name="input")
    if body.dimensions not in (None, looked.info.bits):
        raise InvalidField(
            f"dimensions: this encoder has {looked.info.bits} and no other", param="dimensions"
        )
    vectors = _unit(np.stack(looked.embeddings or [])) if full else _signs(looked)
    usage = looked.usage()
    answer = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _write(vector, body.encoding_format),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": looked.info.name,
        "usage": {name: usage[name] for name in ("prompt_tokens", "total_tokens")},
    }
    return json_answer(answer, call)


def _signs(looked: Looked) -> NDArray[np.float32]:
    signs = unpack_signs(stack_codes([stored.code for stored in looked.codes]))
    return signs / np.float32(np.sqrt(looked.info.bits))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _write(vector: NDArray[np.float32], encoding_format: str) -> str | list[float]:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    floats: list[float] = vector.tolist()
    return floats
