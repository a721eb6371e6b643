"""Hypothesis settings and small makers shared by the unit tests."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file

from app.tasks.registry import Registry
from app.tasks.storage.folder import FolderStorage
from app.tasks.storage.opening import open_storage
from models.artifact import EncoderManifest
from models.codes import Codes
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead
from tests.unit.house import House

# The same examples at every run: what fails was changed, and was not drawn. For other examples,
# and ten times as many: HYPOTHESIS_PROFILE=search make test ARGS=tests/unit.
settings.register_profile("fixed", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=600)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture
def random_codes() -> Callable[..., Codes]:
    """`random_codes(n, bits, seed)`: `(n, bits // 8)` random bytes."""

    def make(count: int, bits: int = 64, seed: int = 0) -> Codes:
        shape = (count, bits // 8)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def make_manifest() -> Callable[..., HeadManifest]:
    """A head manifest of eight bits and the labels a and b, unless told otherwise."""

    def make(**fields: Any) -> HeadManifest:
        known: dict[str, Any] = {
            "kind": "single_label",
            "head": "linear",
            "labels": ("a", "b"),
            "bits": 8,
            "encoders": {"f1": {"profile": "p"}},
            "created_at": 1.0,
        }
        return HeadManifest(**known | fields)

    return make


@pytest.fixture
def make_head() -> Callable[..., LinearHead]:
    """A linear head that always answers its column `winner`, with a bias of `strength`."""

    def make(
        winner: int = 0, *, bits: int = 8, outputs: int = 2, strength: float = 1.0
    ) -> LinearHead:
        bias = np.zeros(outputs, dtype=np.float32)
        bias[winner] = strength
        return LinearHead(np.zeros((bits, outputs), dtype=np.float32), bias)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of tasks that `opened` uses where it opens a folder."""
    return tmp_path / "tasks"


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Callable[[], Registry]:
    """Opens a registry as a new process would, all on the same tasks."""
    if request.param == "folder":
        return lambda: Registry(FolderStorage(root))
    url = request.getfixturevalue("s3_url")
    processes = itertools.count()
    return lambda: Registry(open_storage(url, tmp_path / f"process-{next(processes)}"))


@pytest.fixture
async def make_house() -> AsyncIterator[Callable[..., House]]:
    """Houses that must be idle at the end of the test: nothing leaks, whatever happened."""
    houses: list[House] = []

    def make(*arguments: Any, **fields: Any) -> House:
        houses.append(House(*arguments, **fields))
        return houses[-1]

    yield make
    for house in houses:
        house.encoder.gate.set()
        house.encoder.tokenizer_gate.set()
        await house.until(house.idle)
        await house.batcher.close()


@pytest.fixture
async def house(make_house: Callable[..., House]) -> House:
    return make_house()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bare backbone. Not to be changed."""
    from tests.unit.tiny import write_bert

    return write_bert(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture
def tiny_artifact(tmp_path: Path, tiny_bert: Path) -> Callable[..., Path]:
    """Writes artifact folders over the tiny BERT, with thresholds where they are given."""

    def make(thresholds: Any = None, **fields: Any) -> Path:
        folder = tmp_path / f"artifact{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest = EncoderManifest("tiny", str(tiny_bert), **{"max_tokens": 64} | fields)
        (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
        if thresholds is not None:
            save_file({"thresholds": np.asarray(thresholds)}, folder / "quantizer.safetensors")
        return folder

    return make
