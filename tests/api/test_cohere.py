"""POST /v2/embed: Cohere's contract, with its refusals."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import ServiceProcess

TYPES = ["float", "int8", "uint8", "binary", "ubinary", "base64"]


def embed(service: ServiceProcess, **body: Any) -> httpx.Response:
    fields = {"model": "polyhead", "input_type": "classification", **body}
    return service.http.post("/v2/embed", json=fields)


def codes_of(service: ServiceProcess, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    answer = service.http.post("/v1/encode", json={"inputs": texts}).json()
    raw = b"".join(base64.b64decode(row["code"]) for row in answer["data"])
    return np.frombuffer(raw, np.uint8).reshape(len(texts), -1)


def test_every_type_says_the_same_code(service: ServiceProcess) -> None:
    texts = [f"{uuid.uuid4()} is late", "It came early."]
    answer = embed(service, texts=texts, embedding_types=TYPES).json()
    assert answer["texts"] == texts
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["meta"]["billed_units"]["input_tokens"] > 0
    found = answer["embeddings"]
    assert list(found) == TYPES
    codes = codes_of(service, texts)
    bits = np.unpackbits(codes, axis=1)
    assert found["ubinary"] == codes.tolist()
    assert (np.array(found["binary"]) + 128 == codes).all()
    vectors = np.array(found["float"], np.float32)
    assert (vectors > 0).tolist() == bits.astype(bool).tolist()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert [np.frombuffer(base64.b64decode(one), "<f4").tolist() for one in found["base64"]] == [
        vector.tolist() for vector in vectors
    ]
    whole = np.array(found["int8"])
    assert set(np.unique(whole)) == {-127, 127}
    assert ((whole > 0) == bits).all()
    assert (np.array(found["uint8"]) == whole + 128).all()


def test_float_is_the_default_and_the_vector_of_the_other_route(service: ServiceProcess) -> None:
    mine = embed(service, texts=["a text"]).json()["embeddings"]
    theirs = service.http.post("/v1/embeddings", json={"input": "a text"}).json()
    assert mine == {"float": [theirs["data"][0]["embedding"]]}


def test_inputs_of_one_text_each(service: ServiceProcess) -> None:
    inputs = [{"content": [{"type": "text", "text": text}]} for text in ("one", "two")]
    mine = embed(service, inputs=inputs, embedding_types=["ubinary"]).json()
    assert mine["texts"] == ["one", "two"]
    assert mine["embeddings"]["ubinary"] == codes_of(service, ["one", "two"]).tolist()


def test_a_text_is_cut_at_its_end_or_refused(service: ServiceProcess) -> None:
    long = "word " * 2000
    assert embed(service, texts=["short", long]).status_code == 200
    for truncate in ("NONE", "START"):
        assert embed(service, texts=["short"], truncate=truncate).status_code == 200
        refused = embed(service, texts=["short", long], truncate=truncate)
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == ("texts[1]", "text_too_long")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 422, "texts"),
        ({"texts": ["a"], "inputs": []}, 422, "texts"),
        ({"texts": []}, 400, "texts"),
        ({"texts": ["a", " "]}, 400, "texts[1]"),
        ({"inputs": []}, 400, "inputs"),
        ({"inputs": [{"content": []}]}, 422, "inputs[0]"),
        ({"inputs": [{"content": [{"type": "image_url", "image_url": {}}]}]}, 422, "inputs[0]"),
        ({"images": ["data:image/png;base64,AAAA"]}, 422, "images"),
        ({"texts": ["a"], "embedding_types": ["double"]}, 422, None),
        ({"texts": ["a"], "truncate": "MIDDLE"}, 422, "truncate"),
        ({"texts": ["a"], "output_dimension": 256}, 422, "output_dimension"),
        ({"texts": ["a"], "max_tokens": 8}, 422, "max_tokens"),
        ({"texts": "a"}, 422, "texts"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    service: ServiceProcess, body: dict[str, Any], status: int, param: str | None
) -> None:
    answer = embed(service, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"]
    if param is not None:
        assert error["param"] == param
