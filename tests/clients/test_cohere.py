"""Cohere's client against /v2/embed."""

from __future__ import annotations

import base64
import uuid

import numpy as np
import pytest

from tests.conftest import ServiceProcess

cohere = pytest.importorskip("cohere", reason="cohere is not installed")
FIELDS = {"model": "polyhead", "input_type": "classification"}


def client_of(service: ServiceProcess) -> cohere.ClientV2:
    return cohere.ClientV2(api_key="none", base_url=service.url)


def test_every_type(service: ServiceProcess) -> None:
    texts = [f"{uuid.uuid4()} is late", "It came early."]
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    answer = client_of(service).embed(texts=texts, embedding_types=types, **FIELDS)
    assert answer.texts == texts
    assert answer.meta.billed_units.input_tokens > 0
    encoded = service.http.post("/v1/encode", json={"inputs": texts}).json()
    raw = b"".join(base64.b64decode(row["code"]) for row in encoded["data"])
    codes = np.frombuffer(raw, np.uint8).reshape(2, -1)
    found = answer.embeddings
    assert found.ubinary == codes.tolist()
    assert (np.array(found.binary) + 128 == codes).all()
    assert ((np.array(found.float_) > 0) == np.unpackbits(codes, axis=1)).all()
    assert np.array(found.int8).shape == np.array(found.uint8).shape == (2, 1536)
    assert np.frombuffer(base64.b64decode(found.base64[1]), "<f4").tolist() == pytest.approx(
        found.float_[1]
    )


def test_float_by_itself_and_truncation(service: ServiceProcess) -> None:
    client = client_of(service)
    answer = client.embed(texts=["a text"], embedding_types=["float"], truncate="NONE", **FIELDS)
    assert len(answer.embeddings.float_[0]) == 1536
    assert answer.embeddings.binary is None
    with pytest.raises(cohere.UnprocessableEntityError):
        client.embed(texts=["word " * 2000], embedding_types=["float"], truncate="NONE", **FIELDS)
    with pytest.raises(cohere.BadRequestError):
        client.embed(texts=[" "], embedding_types=["float"], **FIELDS)


async def test_the_async_client(service: ServiceProcess) -> None:
    client = cohere.AsyncClientV2(api_key="none", base_url=service.url)
    answer = await client.embed(texts=["a text"], embedding_types=["ubinary"], **FIELDS)
    assert len(answer.embeddings.ubinary[0]) == 192
