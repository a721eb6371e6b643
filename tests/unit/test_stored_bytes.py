"""Whatever lies in the data directory, or comes from an encoder: an answer or a named refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cache.keys import digest_texts
from app.encoding.addresses import parse_places
from app.encoding.encoders import RemoteEncoders
from app.encoding.protocol import EncoderChanged
from app.errors import ApiError, EncoderUnavailable, NotFound
from app.metrics import Metrics
from app.tasks.jobs import JobStore
from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead
from tests.unit.house import FINGERPRINT, INFO

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
deep = st.integers(1, 200_000).map(lambda depth: b"[" * depth)


def stored(names: list[str]) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, JSON of any kind, and objects that are nearly right."""
    near = st.dictionaries(st.sampled_from(names), values)
    return st.binary(max_size=64) | deep | (near | values).map(lambda one: json.dumps(one).encode())


reused = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def root(
    tmp_path: Path, make_manifest: Callable[..., HeadManifest], make_head: Callable[..., LinearHead]
) -> Path:
    registry = Registry(FolderStorage(tmp_path / "tasks"))
    for name in ("good", "hurt"):
        registry.create(name, "single_label", ["a", "b"], None)
        registry.add_version(name, make_manifest(), make_head())
        registry.activate(name, 1)
    return tmp_path / "tasks"


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in (root / "hurt").rglob("*") if path.is_file())


TASK_FIELDS = ["kind", "labels", "created_at", "description", "ready_made", "version", "format"]


@reused
@given(place=st.integers(0, 9), data=stored(TASK_FIELDS))
def test_any_file_of_a_task_may_be_damaged_and_the_others_go_on(
    root: Path, place: int, data: bytes
) -> None:
    files = files_of(root)
    path = files[place % len(files)]
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        registry = Registry(FolderStorage(root))
        assert registry.snapshot.get("good").active == 1
        with suppress(ApiError):
            state = registry.snapshot.get("hurt")
            assert state.active is None or state.head is not None
    finally:
        path.write_bytes(before)


@reused
@given(data=stored(["id", "task", "status", "created_at", "progress", "report", "error"]))
def test_any_job_file_is_a_job_or_none(tmp_path: Path, data: bytes) -> None:
    store = JobStore(tmp_path / "jobs")
    job = store.create("task")
    (tmp_path / "jobs" / f"{job.id}.json").write_bytes(data)
    with suppress(NotFound):
        store.get(job.id)
    store.list()
    (tmp_path / "jobs" / f"{job.id}.json").unlink()


def remote(memory: Path, transport: httpx.MockTransport) -> RemoteEncoders:
    places = parse_places("http://127.0.0.1:9")
    return RemoteEncoders(places, "", 5, memory, Metrics(), transport=transport)


@reused
@given(data=stored(sorted(asdict(INFO))))
async def test_any_memory_of_the_encoder_is_one_or_none(tmp_path: Path, data: bytes) -> None:
    memory = tmp_path / "encoder.json"
    memory.write_bytes(data)

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    encoder = remote(memory, httpx.MockTransport(gone))
    with suppress(EncoderUnavailable):
        info = await encoder.info()
        assert isinstance(info.fingerprint, str)
        assert info.bits > 0
    await encoder.close()


@reused
@given(data=stored(["encoder", "codes", "tokens", "truncated", "embeddings", "encoded", "timing"]))
async def test_any_answer_of_an_encoder_process_is_codes_or_a_503(
    tmp_path: Path, data: bytes
) -> None:
    await asked(tmp_path, data)


RIGHT: dict[str, Any] = {
    "encoder": FINGERPRINT,
    "codes": "AAAAAAAAAAA=",
    "tokens": [1],
    "truncated": [False],
    "embeddings": None,
    "encoded": 1,
    "timing": {},
}


@reused
@given(change=st.dictionaries(st.sampled_from(sorted(RIGHT)), values, min_size=1, max_size=2))
async def test_a_nearly_right_answer_is_codes_or_a_503(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    await asked(tmp_path, json.dumps(RIGHT | change).encode())


async def asked(folder: Path, data: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=asdict(INFO))
        return httpx.Response(200, content=data)

    encoder = remote(folder / "m.json", httpx.MockTransport(answer))
    with suppress(EncoderUnavailable, EncoderChanged):
        result = await encoder.encode(["a"], digest_texts(FINGERPRINT, ["a"]))
        assert [len(one.code) for one in result.codes] == [INFO.code_bytes]
        assert all(isinstance(one.tokens, int) for one in result.codes)
    await encoder.close()


@reused
@given(data=stored(sorted(asdict(INFO))))
async def test_any_identity_of_an_encoder_process_is_one_or_a_503(
    tmp_path: Path, data: bytes
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=data))
    encoder = remote(tmp_path / "none" / "m.json", transport)
    with suppress(EncoderUnavailable):
        info = await encoder.info()
        assert isinstance(info.fingerprint, str)
        assert info.bits > 0
    await encoder.close()
