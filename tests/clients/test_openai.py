"""The official openai client against /v1/embeddings."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ServiceProcess

openai = pytest.importorskip("openai", reason="the openai client is not installed")


def client_of(service: ServiceProcess, key: str = "none", retries: int = 2) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=retries)


def code_of(service: ServiceProcess, text: str) -> np.ndarray:  # type: ignore[type-arg]
    answer = service.http.post("/v1/encode", json={"inputs": text}).json()
    raw = base64.b64decode(answer["data"][0]["code"])
    return np.unpackbits(np.frombuffer(raw, np.uint8))


def test_embeddings_are_the_codes(service: ServiceProcess) -> None:
    texts = [f"{uuid.uuid4()} one", "two", "two"]
    answer = client_of(service).embeddings.create(model="polyhead", input=texts)
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    for text, row in zip(texts, answer.data, strict=True):
        vector = np.array(row.embedding)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert ((vector > 0) == code_of(service, text)).all()


def test_both_encodings_say_the_same(service: ServiceProcess) -> None:
    """The client asks for base64 by itself and decodes it."""
    create = client_of(service).embeddings.create
    by_itself = create(model="polyhead", input="a text").data[0].embedding
    floats = create(model="polyhead", input="a text", encoding_format="float").data[0].embedding
    assert by_itself == floats
    raw = create(model="polyhead", input="a text", encoding_format="base64").data[0].embedding
    assert np.frombuffer(base64.b64decode(str(raw)), "<f4").tolist() == floats


def test_full_precision_by_an_extra_field(service: ServiceProcess) -> None:
    create = client_of(service).embeddings.create
    full = create(model="polyhead", input="a text", extra_body={"precision": "full"})
    assert ((np.array(full.data[0].embedding) > 0) == code_of(service, "a text")).all()


def test_models_and_errors(service: ServiceProcess) -> None:
    client = client_of(service)
    (model,) = client.models.list().data
    assert client.embeddings.create(model=model.id, input="a").model == model.id
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model="polyhead", input=[])
    assert empty.value.code == "empty_input"
    assert empty.value.param == "input"
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions"):
        client.embeddings.create(model="polyhead", input="a", dimensions=3)


async def test_the_async_client(service: ServiceProcess) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="polyhead", input=["a", "b"])
    assert len(answer.data) == 2


def test_keys(processes: Callable[..., ServiceProcess], tmp_path: Path) -> None:
    service = processes("all", tmp_path, POLYHEAD_API_KEYS="predict:abcdefgh")
    assert client_of(service, "abcdefgh").embeddings.create(model="polyhead", input="a").data
    with pytest.raises(openai.AuthenticationError):
        client_of(service, "wrong-key").embeddings.create(model="polyhead", input="a")
