"""What benchmarks/cache.py compares: our cache in both layouts, RedisVL's and LangChain's.

All take texts, and all are asked for what is there: a digest of each text, a round trip, what was
stored. Ours hold a code a text; the others the floats of which the bits would be made, as they come
out of a model. Peers whose library is not installed are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from redis import Redis

from app.cache.address import connect
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.keys import StoredCode, digest_texts
from app.cache.layouts import Layout, open_store
from app.metrics import Metrics, value_of

FINGERPRINT = "0123456789abcdef" * 2
FLOATS = 384
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TIMEOUT_S = 30.0
SETTLED = 3  # looks in a row that changed nothing


class Subject(Protocol):
    """A cache that is measured. Blocking calls, so that all are timed alike."""

    def put(self, texts: Sequence[str]) -> None:
        """Store something for texts."""
        ...

    def get(self, texts: Sequence[str]) -> int:
        """Look up texts; how many were found."""
        ...

    def settle(self) -> None:
        """Wait for what runs in the background."""
        ...

    def close(self) -> None: ...


class Ours:
    """`CodeCache` without its front cache: every text is asked of the server."""

    def __init__(self, url: str, layout: Layout, code_bytes: int, ttl_s: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._width = code_bytes
        self._random = np.random.default_rng(0)

        async def make() -> CodeCache:
            self._store = open_store(
                connect(url, TIMEOUT_S), layout, ttl_s=ttl_s, timeout_s=TIMEOUT_S
            )
            self._metrics = Metrics()
            return CodeCache(self._store, FrontCache(0), self._metrics)

        self._cache = self._loop.run_until_complete(make())
        self._last: Sequence[str] = ()

    def put(self, texts: Sequence[str]) -> None:
        self._last = texts
        codes = self._random.bytes(self._width * len(texts))
        stored = {
            digest: StoredCode(codes[place : place + self._width], 24, False)
            for digest, place in zip(
                digest_texts(FINGERPRINT, texts), range(0, len(codes), self._width), strict=True
            )
        }
        self._loop.run_until_complete(self._cache.set_many(FINGERPRINT, stored))

    def get(self, texts: Sequence[str]) -> int:
        digests = digest_texts(FINGERPRINT, texts)
        found = self._loop.run_until_complete(
            self._cache.get_many(FINGERPRINT, self._width, digests)
        )
        return len(found) - found.count(None)

    def get_or_put(self, texts: Sequence[str]) -> int:
        """Look up texts, store those that are missing; how many were."""
        digests = digest_texts(FINGERPRINT, texts)
        found = self._loop.run_until_complete(
            self._cache.get_many(FINGERPRINT, self._width, digests)
        )
        missing = [text for text, stored in zip(texts, found, strict=True) if stored is None]
        if missing:
            self.put(missing)
        return len(missing)

    def errors(self) -> int:
        """Failures of the server, refusals, and bad values, so far."""
        return int(value_of(self._metrics.cache_errors))

    def settle(self) -> None:
        # A look comes with writes; a generation can be opened by the look after a move.
        for _ in range(SETTLED):
            self._loop.run_until_complete(self._store.settled())
            for _ in range(2):
                self.put(self._last)
        self._loop.run_until_complete(self._store.settled())

    def close(self) -> None:
        self._loop.run_until_complete(self._cache.close())
        self._loop.close()


class RedisVL:
    """`redisvl.extensions.cache.embeddings.EmbeddingsCache`, blocking, `mset` and `mget`."""

    def __init__(self, socket: str, ttl_s: int) -> None:
        from redisvl.extensions.cache.embeddings import EmbeddingsCache

        client = Redis(unix_socket_path=socket)
        self._cache: Any = EmbeddingsCache(ttl=ttl_s or None, redis_client=client)
        self._random = np.random.default_rng(0)

    def put(self, texts: Sequence[str]) -> None:
        floats = vectors(self._random, len(texts))
        self._cache.mset(
            [
                {"content": text, "model_name": MODEL, "embedding": embedding}
                for text, embedding in zip(texts, floats, strict=True)
            ]
        )

    def get(self, texts: Sequence[str]) -> int:
        if len(texts) == 1:
            return int(self._cache.get(texts[0], MODEL) is not None)
        return sum(entry is not None for entry in self._cache.mget(list(texts), MODEL))

    def settle(self) -> None: ...

    def close(self) -> None: ...


class LangChain:
    """`CacheBackedEmbeddings` over `RedisStore`, blocking."""

    def __init__(self, socket: str, ttl_s: int) -> None:
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_community.storage import RedisStore
        from langchain_core.embeddings import Embeddings

        self._model = model = _Model()

        class Adapter(Embeddings):  # type: ignore[misc, unused-ignore]
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return model.embed(texts)

            def embed_query(self, text: str) -> list[float]:
                return model.embed([text])[0]

        store = RedisStore(client=Redis(unix_socket_path=socket), ttl=ttl_s or None)
        self._cache: Any = CacheBackedEmbeddings.from_bytes_store(
            Adapter(), store, namespace=MODEL, key_encoder="blake2b", query_embedding_cache=True
        )

    def put(self, texts: Sequence[str]) -> None:
        self._cache.embed_documents(list(texts))

    def get(self, texts: Sequence[str]) -> int:
        before = self._model.embedded
        found = len(self._cache.embed_documents(list(texts)))
        return found - (self._model.embedded - before)

    def settle(self) -> None: ...

    def close(self) -> None: ...


class _Model:
    """Makes embeddings, and counts them: those are misses."""

    def __init__(self) -> None:
        self.embedded = 0
        self._random = np.random.default_rng(0)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.embedded += len(texts)
        return vectors(self._random, len(texts))


def vectors(random: np.random.Generator, count: int) -> list[list[float]]:
    """Unit vectors of 32-bit floats, as Python's floats: what a model's `.tolist()` gives."""
    floats = random.normal(size=(count, FLOATS)).astype(np.float32)
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    listed: list[list[float]] = floats.tolist()
    return listed
