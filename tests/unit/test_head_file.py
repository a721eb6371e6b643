"""app.tasks.head_file: files come back as they were, and what is not one is refused."""

from __future__ import annotations

import contextlib
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from app.errors import BadRequest
from app.schemas import VersionSettings
from app.tasks.head_file import read_head_file, write_head_file
from models.example_rows import TEST, TRAIN, ExampleRows
from models.head_artifact import HEAD_FORMAT, HeadManifest
from models.head_runtime import LinearHead, MLPHead, TaskKind
from models.reference import make_reference

FINGERPRINT = "0123456789abcdef" * 2
RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def manifest_of(kind: TaskKind = "single_label", **fields: Any) -> HeadManifest:
    known: dict[str, Any] = {
        "kind": kind,
        "head": "linear",
        "labels": ("value",) if kind == "regression" else ("café", "thé", "水"),
        "bits": 16,
        "encoders": {FINGERPRINT: {"profile": "p"}},
        "created_at": 1.5,
        "report": {"accuracy": 0.5, "warnings": ["é"]},
        "thresholds": (0.1, 0.2, 0.3) if kind == "multi_label" else None,
    }
    return HeadManifest(**known | fields)


def rows_of(kind: TaskKind, count: int = 6) -> ExampleRows:
    codes = RNG.integers(0, 256, (count, 2), dtype=np.uint8)
    targets: Any = np.arange(count) % 3
    if kind == "multi_label":
        targets = np.eye(3, dtype=np.int64)[targets]
    if kind == "regression":
        targets = targets.astype(np.float64)
    rows = ExampleRows.of(codes, targets, TRAIN)
    rows.side[::2] = TEST
    return rows.known_as(4)


def written(manifest: HeadManifest | None = None, rows: ExampleRows | None = None) -> bytes:
    manifest = manifest or manifest_of()
    outputs = len(manifest.labels)
    head = LinearHead(floats(16, outputs), floats(outputs))
    return write_head_file(manifest, head, VersionSettings(), rows)


def changed(
    tensors: dict[str, Any] | None = None, without: tuple[str, ...] = (), **metadata: Any
) -> bytes:
    """A good file with other tensors or metadata; manifest fields are those not known otherwise."""
    data = written(rows=rows_of("single_label"))
    held = load(data) | (tensors or {})
    manifest = manifest_of().to_json() | {
        key: value for key, value in metadata.items() if key not in ("format", "settings", "raw")
    }
    beside = {
        "format": metadata.get("format", HEAD_FORMAT),
        "manifest": metadata.get("raw", json.dumps(manifest)),
        "settings": metadata.get("settings", "{}"),
    }
    return save(
        {name: value for name, value in held.items() if name not in without},
        {name: value for name, value in beside.items() if name not in without},
    )


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
@pytest.mark.parametrize("with_rows", [False, True])
def test_a_version_comes_back(kind: TaskKind, with_rows: bool) -> None:
    manifest = manifest_of(kind)
    outputs = len(manifest.labels)
    head = MLPHead(floats(16, 5), floats(5), LinearHead(floats(5, outputs), floats(outputs)))
    rows = rows_of(kind) if with_rows else None
    settings = VersionSettings(coverage=0.5, accuracy=0.9)
    if kind == "single_label":
        settings = VersionSettings(min_confidence=0.25, coverage=0.5, accuracy=0.9)
    file = read_head_file(write_head_file(manifest, head, settings, rows))
    assert file.manifest == manifest
    for name, value in head.tensors().items():
        np.testing.assert_array_equal(file.head.tensors()[name], value)
    assert file.settings.min_confidence == settings.min_confidence
    if rows is None:
        assert file.rows is None
        return
    assert file.rows is not None
    for name in ("codes", "targets", "side", "part", "row"):
        np.testing.assert_array_equal(getattr(file.rows, name), getattr(rows, name))
    assert not file.rows.version.any()  # its numbers mean other versions elsewhere


def test_a_file_that_is_only_changed_in_ways_that_are_allowed_is_read() -> None:
    assert read_head_file(changed()).rows is not None


DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 not this",
        b"\xff" * 64,
        (10**6).to_bytes(8, "little") + b"{}",
        save({"weight": floats(16, 3), "bias": floats(3)}),
        changed(format="polyhead.head/9"),
        changed(without=("manifest",)),
        changed(without=("settings",)),
        changed(without=("bias",)),
        changed(raw="[]"),
        changed(raw='{"a": NaN}'),
        changed(raw="{"),
        changed(settings='{"min_confidence": 7}'),
        changed(settings='{"other": 7}'),
        changed(settings="null"),
        changed(kind="other"),
        changed(kind="regression"),
        changed(bits=24),
        changed(bits="16"),
        changed(labels=["a", "b"]),
        changed(labels=["a", "b", "b"]),
        changed(labels=["a", "b", ""]),
        changed(labels=["a", "b", "c" * 257]),
        changed(labels=["a", "b", "\ud800"]),
        changed(encoders={}),
        changed(encoders={"../up": {}}),
        changed(encoders={FINGERPRINT: 1}),
        changed(created_at="soon"),
        changed(thresholds=[0.5, 0.5, 0.5]),
        changed(report=[1]),
        changed(report={"deep": DEEP}),
        changed({"weight": floats(16, 2)}),
        changed({"weight": floats(16, 3).astype(np.float64)}),
        changed({"bias": np.array([0, 1, np.nan], dtype=np.float32)}),
        changed({"weight": np.full((16, 3), 3e38, dtype=np.float32)}),
        changed({"extra": floats(1)}),
        changed({"rows.targets": np.array([0, 1, 2, 3, 0, 1])}),
        changed({"rows.targets": np.array([0, 1, 2, -1, 0, 1])}),
        changed({"rows.targets": np.zeros(6)}),
        changed({"rows.targets": np.zeros((6, 3), dtype=np.int64)}),
        changed({"rows.codes": np.zeros((6, 3), dtype=np.uint8)}),
        changed({"rows.side": np.full(6, 2, dtype=np.int8)}),
        changed({"rows.part": np.full(6, 9, dtype=np.int8)}),
        changed({"rows.row": np.full(6, -1, dtype=np.int32)}),
        changed(without=("rows.side",)),
        written()[:-1],
        written() + b"\x00",
    ],
    ids=lambda data: str(len(data)),
)
def test_what_is_not_such_a_file_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_head_file(data)
    assert caught.value.code == "bad_head_file"


GOOD = written(rows=rows_of("single_label"))


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=8))
def test_no_change_of_bytes_is_more_than_refused(place: int, other: bytes) -> None:
    with contextlib.suppress(BadRequest):
        read_head_file(GOOD[:place] + other + GOOD[place + len(other) :])


def test_a_pickle_is_refused_like_any_other_bytes() -> None:
    with pytest.raises(BadRequest):
        read_head_file(pickle.dumps({"weight": 1}))


def test_settings_make_it_into_the_file() -> None:
    settings = VersionSettings(thresholds={"café": 0.7})
    manifest = manifest_of("multi_label")
    head = LinearHead(floats(16, 3), floats(3))
    file = read_head_file(write_head_file(manifest, head, settings, None))
    assert file.settings.thresholds == {"café": 0.7}


def test_bit_frequencies_come_along() -> None:
    manifest = manifest_of()
    head = LinearHead(floats(16, 3), floats(3))
    codes = RNG.integers(0, 256, (40, 2), dtype=np.uint8)
    reference = make_reference(codes, np.array([20, 15, 5]))
    assert reference is not None
    data = write_head_file(manifest, head, VersionSettings(), None, reference)
    again = read_head_file(data).reference
    assert again is not None
    assert (again.rows, again.limit) == (reference.rows, reference.limit)
    assert again.ones.tolist() == reference.ones.tolist()
    for bad in ({"reference.rows": np.array([3], dtype=np.uint32)}, {"reference.x": codes}):
        with pytest.raises(BadRequest, match="reference"):
            read_head_file(changed(bad))
