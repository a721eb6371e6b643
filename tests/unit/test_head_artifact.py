"""models.head_artifact: heads on disk, and manifests that were not written by us."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import MANIFEST, ArtifactError, write_artifact
from models.head_artifact import (
    HEAD_FORMAT,
    MAX_LABELS,
    WEIGHTS,
    HeadManifest,
    load_head,
    save_head,
)
from models.head_runtime import LinearHead, MLPHead

GOOD: dict[str, Any] = {
    "format": HEAD_FORMAT,
    "kind": "single_label",
    "head": "linear",
    "labels": ["a", "b"],
    "bits": 8,
    "encoders": {"f1": {"profile": "p"}},
    "created_at": 5,
}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
optional = ("report", "card", "extra", "unknown")


def linear(bits: int = 8, outputs: int = 2) -> LinearHead:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(bits, outputs)).astype(np.float32)
    return LinearHead(weight, rng.normal(size=outputs).astype(np.float32))


def mlp(bits: int = 8, hidden: int = 3, outputs: int = 2) -> MLPHead:
    first = linear(bits, hidden)
    return MLPHead(first.weight, first.bias, linear(hidden, outputs))


@pytest.mark.parametrize("head", [linear(), mlp()], ids=["linear", "mlp"])
@pytest.mark.parametrize("half", [False, True])
def test_heads_round_trip(
    tmp_path: Path,
    make_manifest: Callable[..., HeadManifest],
    head: LinearHead | MLPHead,
    half: bool,
) -> None:
    manifest = make_manifest(report={"accuracy": 0.5}, card={"use": "tests"}, extra={"x": 1})
    save_head(tmp_path, manifest, head, half=half)
    read_manifest, read = load_head(tmp_path)
    assert read_manifest == manifest
    assert read.tensors().keys() == head.tensors().keys()
    for name, value in read.tensors().items():
        expected = head.tensors()[name]
        if half:
            expected = expected.astype(np.float16).astype(np.float32)
        assert value.dtype == np.float32
        assert np.array_equal(value, expected)


def test_weights_that_do_not_fit_the_manifest_are_refused(
    tmp_path: Path, make_manifest: Callable[..., HeadManifest]
) -> None:
    save_head(tmp_path, make_manifest(labels=("a", "b", "c")), linear())
    with pytest.raises(ArtifactError, match=r"expected \(8, 3\)"):
        load_head(tmp_path)


@pytest.mark.parametrize("missing", [MANIFEST, WEIGHTS])
def test_a_missing_file_is_refused(
    tmp_path: Path, make_manifest: Callable[..., HeadManifest], missing: str
) -> None:
    save_head(tmp_path, make_manifest(), linear())
    (tmp_path / missing).unlink()
    with pytest.raises(ArtifactError):
        load_head(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 8, 60, -1])
def test_cut_weights_are_refused(
    tmp_path: Path, make_manifest: Callable[..., HeadManifest], keep: int
) -> None:
    save_head(tmp_path, make_manifest(), linear())
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:keep])
    with pytest.raises(ArtifactError):
        load_head(tmp_path)


def test_weights_with_nan_are_refused(tmp_path: Path) -> None:
    values = {"weight": np.full((8, 2), np.nan, np.float32), "bias": np.zeros(2, np.float32)}
    write_artifact(tmp_path, GOOD, values, WEIGHTS)
    with pytest.raises(ArtifactError, match="finite"):
        load_head(tmp_path)


def test_the_wire_form_round_trips(make_manifest: Callable[..., HeadManifest]) -> None:
    manifest = make_manifest(report={"accuracy": None}, labels=("é", "b", "|"))
    assert HeadManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_every_field_is_needed(missing: str) -> None:
    with pytest.raises(ArtifactError):
        HeadManifest.from_json({name: value for name, value in GOOD.items() if name != missing})


@pytest.mark.parametrize(
    "bad",
    [
        {"format": "polyhead.head/2"},
        {"kind": "guess"},
        {"kind": ["single_label"]},
        {"head": "tree"},
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": ["a", 1]},
        {"labels": [["a"], ["b"]]},
        {"labels": "ab"},
        {"labels": {"a": 0, "b": 1}},
        {"labels": None},
        {"labels": [str(n) for n in range(MAX_LABELS + 1)]},
        {"bits": 0},
        {"bits": -8},
        {"bits": 12},
        {"bits": 8.0},
        {"bits": "8"},
        {"bits": True},
        {"encoders": {"f": 1}},
        {"encoders": ["f"]},
        {"encoders": [["f", {}]]},
        {"encoders": None},
        {"created_at": float("nan")},
        {"created_at": 10**400},
        {"created_at": "today"},
        {"report": [1]},
        {"report": "fine"},
        {"card": ["x"]},
        {"extra": [1]},
    ],
    ids=lambda bad: str(bad)[:40],
)
def test_wrong_values_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        HeadManifest.from_json(GOOD | bad)


@given(
    st.dictionaries(st.sampled_from([*sorted(GOOD), *optional]), json_values, max_size=3),
    st.booleans(),
)
def test_arbitrary_json_gives_a_manifest_or_an_artifact_error(
    fields: dict[str, Any], near: bool
) -> None:
    with suppress(ArtifactError):
        manifest = HeadManifest.from_json((GOOD if near else {}) | fields)
        assert isinstance(manifest, HeadManifest)
        assert all(isinstance(label, str) for label in manifest.labels)
        assert all(isinstance(value, dict) for value in manifest.encoders.values())


def test_thresholds_round_trip_and_older_manifests_have_none(
    make_manifest: Callable[..., HeadManifest],
) -> None:
    manifest = make_manifest(kind="multi_label", thresholds=(0.25, 1.0))
    assert HeadManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    assert HeadManifest.from_json(GOOD).thresholds is None


@pytest.mark.parametrize(
    ("kind", "thresholds"),
    [
        ("single_label", [0.5, 0.5]),
        ("multi_label", [0.5]),
        ("multi_label", [0.5, 1.5]),
        ("multi_label", [0.5, float("nan")]),
        ("multi_label", [0.5, "0.5"]),
        ("multi_label", [0.5, True]),
        ("multi_label", 0.5),
    ],
)
def test_wrong_thresholds_are_refused(kind: str, thresholds: Any) -> None:
    with pytest.raises(ArtifactError, match="thresholds"):
        HeadManifest.from_json(GOOD | {"kind": kind, "thresholds": thresholds})
