"""LangChain's OpenAIEmbeddings against /v1/embeddings."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from tests.conftest import ServiceProcess

langchain_openai = pytest.importorskip(
    "langchain_openai", reason="langchain-openai is not installed"
)


def embeddings_of(service: ServiceProcess) -> langchain_openai.OpenAIEmbeddings:
    """Texts are sent as texts: by itself it sends tokens of OpenAI's own tokenizer."""
    return langchain_openai.OpenAIEmbeddings(
        model="polyhead",
        base_url=f"{service.url}/v1",
        api_key="none",
        check_embedding_ctx_length=False,
        chunk_size=7,
    )


def test_documents_and_queries(service: ServiceProcess) -> None:
    mark = uuid.uuid4().hex
    texts = [f"{mark}: text {number}" for number in range(20)]  # three requests
    embeddings = embeddings_of(service)
    vectors = np.array(embeddings.embed_documents(texts))
    assert vectors.shape == (20, 1536)
    assert embeddings.embed_query(texts[11]) == vectors[11].tolist()
    answer = service.http.post("/v1/embeddings", json={"input": texts}).json()
    expected = np.array([row["embedding"] for row in answer["data"]], np.float32)
    assert (vectors.astype(np.float32) == expected).all()


async def test_async(service: ServiceProcess) -> None:
    embeddings = embeddings_of(service)
    (vector,) = await embeddings.aembed_documents(["a text"])
    assert vector == await embeddings.aembed_query("a text")


def test_a_vector_store_finds_what_is_alike(service: ServiceProcess) -> None:
    stores = pytest.importorskip("langchain_core.vectorstores")
    store = stores.InMemoryVectorStore(embeddings_of(service))
    store.add_texts(["My card has not arrived yet", "The weather will be sunny tomorrow"])
    (found,) = store.similarity_search("where is my new bank card", k=1)
    assert found.page_content.startswith("My card")


def test_tokens_in_place_of_texts_are_refused_with_a_hint(service: ServiceProcess) -> None:
    answer = service.http.post("/v1/embeddings", json={"input": [[1, 2, 3]]})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith("input")
