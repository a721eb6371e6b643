"""`similar` and `tasks.suspects`: what is sent, how it is cut, and what is made of answers."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from polyhead import AsyncClient, Client, Neighbour, ProtocolError, Suspect, SuspectNeighbour
from polyhead._labelled_file import LabelledRow, read_labelled

STORED = {
    "distance": 12,
    "share": 0.0078,
    "key": "ab" * 16,
    "predictions": {"mood": {"label": "low", "score": 0.5, "version": 1}},
}
ROW = {"distance": 3, "share": 0.1, "version": 2, "part": "examples", "row": 7, "label": "a"}
SUSPECT = {
    "version": 2,
    "part": "examples",
    "row": 4,
    "label": "a",
    "suggested": "b",
    "suspicion": 0.9,
    "probability": 0.1,
    "agreeing": 1,
    "neighbours": [
        {"version": 2, "part": "test_examples", "row": 1, "label": "b", "distance": 5, "new": 1}
    ],
}


class Service:
    """Answers as the service does, and keeps what was asked."""

    def __init__(self):
        self.bodies = []
        self.near = [STORED, ROW]

    def __call__(self, request):
        if request.method == "GET":
            self.bodies.append(str(request.url.raw_path, "ascii"))
            answer = {"task": "topic", "version": 2, "rows": 60, "data": [SUSPECT]}
            return httpx.Response(200, json=answer)
        body = json.loads(request.content)
        self.bodies.append(body)
        given = body.get("keys") or body["inputs"]
        data = [
            {"index": index, "key": text, "neighbours": self.near}
            for index, text in enumerate(given)
        ]
        usage = {"inputs": len(given), "cached": 0, "encoded": len(given)}
        searched = {"codes": 9, "complete": True, "age_s": 1.5}
        answer = {"encoder": "ff", "bits": 1536, "data": data, "searched": searched}
        return httpx.Response(200, json=answer | {"usage": usage})


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def client(service):
    with Client("http://test", transport=httpx.MockTransport(service), max_batch=256) as client:
        yield client


def test_neighbours_of_both_kinds(client, service):
    found = client.similar("one", limit=3, max_distance=40, tasks=["mood"])
    assert service.bodies == [
        {"inputs": ["one"], "limit": 3, "max_distance": 40, "tasks": ["mood"]}
    ]
    stored, row = found[0].neighbours
    assert (stored.key, stored.distance) == ("ab" * 16, 12)
    assert stored.predictions["mood"].label == "low"
    assert row == Neighbour(3, 0.1, version=2, part="examples", row=7, label="a")
    assert (found.bits, found.searched.codes, found.usage.encoded) == (1536, 9, 1)
    client.similar(keys=["k"], task="topic", version=2, max_age_s=0)
    assert service.bodies[1] == {
        "keys": ["k"],
        "limit": 10,
        "task": "topic",
        "version": 2,
        "max_age_s": 0,
    }


def test_many_inputs_are_cut_as_the_service_bounds_them(client, service):
    texts = [str(number) for number in range(250)]
    found = client.similar(texts, limit=100)
    assert sorted(len(body["inputs"]) for body in service.bodies) == [50, 100, 100]
    assert [(one.index, one.key) for one in found] == list(enumerate(texts))
    assert found.usage.inputs == 250


def test_the_async_client_does_the_same(service):
    async def ask():
        async with AsyncClient("http://test", transport=httpx.MockTransport(service)) as client:
            return await client.similar(["one", "two"]), await client.tasks.suspects("topic", 2)

    found, suspects = asyncio.run(ask())
    assert [one.key for one in found] == ["one", "two"]
    assert suspects.data[0].row == 4


def test_suspects(client, service):
    found = client.tasks.suspects("topic", 2, limit=7, neighbours=1)
    assert service.bodies == ["/v1/tasks/topic/versions/2/suspects?limit=7&neighbours=1"]
    assert (found.task, found.version, found.rows) == ("topic", 2, 60)
    near = SuspectNeighbour(2, "test_examples", 1, "b", 5)
    assert found.data == (Suspect(2, "examples", 4, "a", "b", 0.9, 0.1, 1, (near,)),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either"),
        ({"inputs": "a", "keys": ["b"]}, "either"),
        ({"inputs": "a", "limit": 0}, "limit"),
        ({"inputs": "a", "limit": 101}, "limit"),
        ({"inputs": []}, "empty"),
        ({"inputs": "a", "version": 1}, "version needs task"),
    ],
)
def test_what_cannot_be_asked(client, service, arguments, message):
    with pytest.raises(ValueError, match=message):
        client.similar(**arguments)
    assert service.bodies == []


def test_a_broken_answer_is_told(client, service):
    service.near = [{"distance": "far"}]
    with pytest.raises(ProtocolError, match=r"data\[0\].neighbours\[0\].distance"):
        client.similar("one")


def test_labelled_files_are_counted_as_the_service_counts(tmp_path):
    csv = tmp_path / "data.csv"
    csv.write_bytes('\ufefflabel;text\n\nx; one\n y ;"two;\nlines"\n'.encode())
    assert read_labelled(csv) == [LabelledRow(" one", "x"), LabelledRow("two;\nlines", "y")]
    lines = tmp_path / "data.jsonl"
    lines.write_text('{"text": "one", "label": "x"}\n\n{"text": "two", "label": "y"}\n')
    assert read_labelled(lines) == [LabelledRow("one", "x"), LabelledRow("two", "y")]
    with pytest.raises(ValueError, match="'body'"):
        read_labelled(csv, "body")
    for bad in (b'text,label\n"a', b"\xff"):
        csv.write_bytes(bad)
        with pytest.raises(ValueError, match=r"data\.csv"):
            read_labelled(csv)
    lines.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1"):
        read_labelled(lines)
