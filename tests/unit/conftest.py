"""Hypothesis settings and small makers shared by the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from models.codes import Codes
from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead

settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")


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
