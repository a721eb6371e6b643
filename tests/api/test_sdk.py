"""The client SDK against the real service."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from polyhead import AsyncClient, Client, NotFound

from tests.api.test_tasks import rows
from tests.conftest import ServiceProcess


def test_predict_splits_large_inputs_and_keeps_their_order(service: ServiceProcess) -> None:
    mark = uuid.uuid4().hex
    texts = [f"{mark} {n}" for n in range(60)]
    with Client(service.url, max_batch=7) as client:
        first = client.predict(texts, tasks=["sentiment"])
        again = client.predict(texts, tasks=["sentiment"])
        keys = client.predict(keys=[row.key for row in first], tasks=["sentiment"])
    assert [row.index for row in first] == list(range(60))
    assert first.usage.encoded == 60
    assert again.usage.cached == 60
    labels = [[row["sentiment"].label for row in answer] for answer in (first, again, keys)]
    assert labels[0] == labels[1] == labels[2]


async def test_async_client_answers_the_same(service: ServiceProcess) -> None:
    with Client(service.url) as client:
        expected = client.predict(["one text", "another"])
    async with AsyncClient(service.url) as client:
        answer = await client.predict(["one text", "another"])
    for row, other in zip(answer, expected, strict=True):
        assert row.predictions == other.predictions


def test_codes_and_embeddings_agree(service: ServiceProcess) -> None:
    with Client(service.url) as client:
        (code,) = client.encode("a text")
        (vector,) = client.embed("a text")
        (full,) = client.embed("a text", precision="full")
    assert np.packbits(np.array(vector) > 0).tobytes() == code.code
    assert np.packbits(np.array(full) > 0).tobytes() == code.code


def test_train_wait_activate(service: ServiceProcess) -> None:
    name = f"sdk-{uuid.uuid4().hex[:8]}"
    with Client(service.url) as client:
        examples = [(row["text"], row["label"]) for row in rows(80)]
        job = client.tasks.train(name, examples, wait=True)
        assert job.report is not None
        assert job.report.accuracy is not None
        assert job.report.accuracy > 0.8
        client.tasks.train(name, examples, head="mlp", wait=True)
        assert client.tasks.activate(name, 2).active
        assert client.tasks.get(name).active_version == 2
        client.tasks.delete(name)
        with pytest.raises(NotFound):
            client.tasks.get(name)
