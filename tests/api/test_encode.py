"""POST /v1/encode and /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
import pytest

from tests.api.test_predict import unseen
from tests.conftest import ServiceProcess


def encode(service: ServiceProcess, inputs: Any) -> dict[str, Any]:
    response = service.http.post("/v1/encode", json={"inputs": inputs})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_codes_have_the_width_that_is_told(service: ServiceProcess) -> None:
    answer = encode(service, [unseen(), unseen()])
    for row in answer["data"]:
        assert len(base64.b64decode(row["code"])) == answer["bits"] // 8
        assert row["tokens"] > 3
    info = service.http.get("/info").json()["encoder"]
    assert (answer["bits"], answer["encoder"]) == (info["bits"], info["fingerprint"])


def test_raw_codes_are_back_to_back(service: ServiceProcess) -> None:
    inputs = [unseen(), unseen(), "short"]
    answer = encode(service, inputs)
    raw = service.http.post(
        "/v1/encode", json={"inputs": inputs}, headers={"accept": "application/octet-stream"}
    )
    assert raw.content == b"".join(base64.b64decode(row["code"]) for row in answer["data"])
    assert raw.headers["x-bits"] == str(answer["bits"])


def test_embeddings_are_the_code_as_signs(service: ServiceProcess) -> None:
    text = unseen()
    code = base64.b64decode(encode(service, text)["data"][0]["code"])
    signs = np.unpackbits(np.frombuffer(code, dtype=np.uint8)).astype(np.float32) * 2 - 1
    answer = service.http.post("/v1/embeddings", json={"input": text}).json()
    vector = np.array(answer["data"][0]["embedding"], dtype=np.float32)
    np.testing.assert_allclose(vector, signs / np.sqrt(len(signs)), rtol=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_base64_is_little_endian_float32(service: ServiceProcess) -> None:
    text = unseen()
    floats = service.http.post("/v1/embeddings", json={"input": [text]}).json()
    packed = service.http.post(
        "/v1/embeddings", json={"input": [text], "encoding_format": "base64"}
    ).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    values = struct.unpack(f"<{len(raw) // 4}f", raw)
    assert values == pytest.approx(floats["data"][0]["embedding"])


def test_full_precision_is_a_unit_vector_whose_signs_are_the_code(service: ServiceProcess) -> None:
    text = unseen()
    answer = service.http.post(
        "/v1/embeddings", json={"input": [text, text], "precision": "full"}
    ).json()
    one, other = (np.array(row["embedding"]) for row in answer["data"])
    np.testing.assert_array_equal(one, other)
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    code = base64.b64decode(encode(service, text)["data"][0]["code"])
    assert np.packbits(one > 0).tobytes() == code


def test_models_and_stats(service: ServiceProcess) -> None:
    (model,) = service.http.get("/v1/models").json()["data"]
    assert model["object"] == "model"
    assert model["bits"] % 8 == 0
    service.predict("warm")
    service.predict("warm")
    stats = service.http.get("/v1/stats").json()
    assert stats["cache"]["hits"] > 0
    assert 0 < stats["cache"]["hit_ratio"] <= 1
    assert stats["encoder"]["passes_saved"] > 0
