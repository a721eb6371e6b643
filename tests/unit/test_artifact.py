"""models.artifact: whatever lies in the folder, an ArtifactError and nothing else."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from models.artifact import (
    ENCODER_FORMAT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ArtifactError,
    EncoderManifest,
    digest_file,
    digest_json,
    read_manifest,
    read_tensors,
    resolve_backbone,
    write_artifact,
    write_durably,
)

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "format": ENCODER_FORMAT,
    "name": "n",
    "backbone": "b",
    "pooling": "mean",
    "layers": [-1],
    "max_tokens": 256,
}
tensors = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=6),
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.int64, np.uint8]),
        hnp.array_shapes(max_dims=3, min_side=0, max_side=4),
    ),
    min_size=1,
    max_size=3,
)


@given(tensors, st.dictionaries(st.text(max_size=8), st.integers() | st.text(), max_size=3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], manifest: dict[str, Any]
) -> None:
    with suppress(UnicodeEncodeError):  # lone surrogates have no JSON in UTF-8
        folder = tmp_path_factory.mktemp("artifact")
        write_artifact(folder, manifest, values, "w.safetensors")
        assert read_manifest(folder) == manifest
        read = read_tensors(folder / "w.safetensors")
        assert read.keys() == values.keys()
        for name, value in values.items():
            assert read[name].dtype == value.dtype
            assert np.array_equal(read[name], value, equal_nan=value.dtype.kind == "f")


def test_tensors_that_are_not_contiguous_are_written_as_they_look(tmp_path: Path) -> None:
    value = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    write_artifact(tmp_path, {}, {"w": value}, "w.safetensors")
    assert read_tensors(tmp_path / "w.safetensors")["w"].tolist() == value.tolist()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"


def test_a_manifest_that_is_no_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_artifact(tmp_path, {"x": float("nan")}, {"w": np.zeros(1)}, "w.safetensors")
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"{}" + b" " * MAX_MANIFEST_BYTES,
    ],
    ids=lambda data: repr(data[:8]),
)
def test_hostile_manifests_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path)


def test_a_missing_manifest_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path)


@same_folder
@given(data=st.binary(max_size=64) | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_manifest_bytes_give_an_object_or_an_artifact_error(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with suppress(ArtifactError):
        assert isinstance(read_manifest(tmp_path), dict)


def header(value: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


EIGHT = bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**63),
        header({}, length=2**64 - 1),
        header(tensor(), EIGHT[:7]),
        header(tensor(), EIGHT + b"x"),
        header(tensor(shape=[3]), EIGHT),
        header(tensor(offsets=[0, 2**62]), EIGHT),
        header(tensor(offsets=[4, 12]), EIGHT),
        header(tensor(offsets=[8, 0]), EIGHT),
        header(tensor(offsets=[-8, 0]), EIGHT),
        header(tensor(shape=[2**32, 2**32]), EIGHT),
        header(tensor(shape=[-2]), EIGHT),
        header(tensor(shape="ab"), EIGHT),
        header(tensor(dtype="F99"), EIGHT),
        header(tensor(dtype="BF16", shape=[4]), EIGHT),
        header(tensor(dtype="F8_E4M3", shape=[8]), EIGHT),
        header([1, 2]),
        header(b"{" * 50_000),
        header(b"\xff" * 8),
        header(b'{"w":' * 10_000),
        b"\x80\x04\x95" + b"cos\nsystem\n",  # a pickle is read as nothing but a bad file
    ],
    ids=range(22),
)
def test_hostile_weights_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError):
        read_tensors(tmp_path / "w.safetensors")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        read_tensors(tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError):
        read_tensors(tmp_path)


@same_folder
@given(data=st.binary(max_size=200))
def test_arbitrary_weight_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    with suppress(ArtifactError):
        assert not read_tensors(tmp_path / "w.safetensors")


@same_folder
@given(place=st.integers(0, 2**16), flip=st.integers(1, 255), cut=st.integers(0, 200))
def test_damaged_weights_give_tensors_or_an_artifact_error(
    tmp_path: Path, place: int, flip: int, cut: int
) -> None:
    data = bytearray(save({"w": np.ones((3, 4), np.float32), "b": np.ones(4, np.float16)}))
    data[place % len(data)] ^= flip
    (tmp_path / "w.safetensors").write_bytes(data[: len(data) - cut])
    with suppress(ArtifactError):
        read = read_tensors(tmp_path / "w.safetensors")
        assert all(isinstance(value, np.ndarray) for value in read.values())


@pytest.mark.parametrize("long_texts", ["cut", "windows"])
def test_an_encoder_manifest_round_trips(long_texts: Literal["cut", "windows"]) -> None:
    extra = {"calibration": {"rows": 1}}
    manifest = EncoderManifest(
        "n", "b", "max", (-2, 3), 64, "query: ", long_texts, description="words", extra=extra
    )
    assert EncoderManifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_a_manifest_that_says_nothing_of_long_texts_cuts_them() -> None:
    assert EncoderManifest.from_json(GOOD).long_texts == "cut"


@pytest.mark.parametrize("missing", ["format", "name", "backbone", "pooling", "layers"])
def test_an_encoder_manifest_needs_its_fields(missing: str) -> None:
    with pytest.raises(ArtifactError):
        EncoderManifest.from_json({k: v for k, v in GOOD.items() if k != missing})


@pytest.mark.parametrize(
    "bad",
    [
        {"format": "polyhead.encoder/2"},
        {"layers": 3},
        {"layers": ["x"]},
        {"layers": [[1]]},
        {"layers": [float("inf")]},
        {"layers": None},
        {"max_tokens": None},
        {"max_tokens": "many"},
        {"long_texts": "words"},
        {"long_texts": None},
        {"max_tokens": float("nan")},
        {"max_tokens": float("inf")},
        {"extra": 5},
        {"extra": ["a"]},
    ],
    ids=str,
)
def test_an_encoder_manifest_of_wrong_types_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        EncoderManifest.from_json(GOOD | bad)


@given(st.dictionaries(st.sampled_from(sorted([*GOOD, "prompt", "extra"])), json_values))
def test_arbitrary_fields_give_an_encoder_manifest_or_an_artifact_error(
    fields: dict[str, Any],
) -> None:
    with suppress(ArtifactError):
        assert isinstance(EncoderManifest.from_json(GOOD | fields), EncoderManifest)


def test_digest_json_ignores_order_and_sees_values() -> None:
    assert digest_json({"a": 1, "b": [1.5]}) == digest_json({"b": [1.5], "a": 1})
    others = [{"a": 1, "b": [1.5, 0]}, {"a": "1", "b": [1.5]}, {"a": 1}, [["a", 1], ["b", [1.5]]]]
    assert len({digest_json(value) for value in others}) == len(others)


def test_digest_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    assert digest_file(tmp_path / "f") == sha256(b"x" * 100_000).hexdigest()


def test_backbones_of_packages_are_found() -> None:
    assert resolve_backbone("some/name") == "some/name"
    assert resolve_backbone("package:numpy/core") == str(Path(np.__file__).parent / "core")
    with pytest.raises(ArtifactError, match="no_such_package"):
        resolve_backbone("package:no_such_package/model")
