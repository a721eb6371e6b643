"""A head version as one file: safetensors, with its manifest and settings in the metadata. Pure.

    __metadata__   {"format": "polyhead.head/1", "manifest": JSON, "settings": JSON}
    weight, bias   (and hidden_weight, hidden_bias), as in a version's folder
    reference.ones, ...   how often bits are set in those rows, if that is known
    rows.codes, rows.targets, ...   the rows that it was made from, if they were asked for

What is read may come from anybody: it is checked as if to do harm.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.errors import BadRequest
from app.schemas import SettingsRequest, VersionSettings
from app.tasks.examples import MAX_LABEL_CHARS
from models.artifact import MAX_MANIFEST_BYTES, ArtifactError
from models.example_rows import ExampleRows, check_rows_of, rows_as_tensors, rows_of_tensors
from models.head_artifact import HEAD_FORMAT, HeadManifest
from models.head_runtime import Head, head_from_tensors
from models.reference import Reference, reference_as_tensors, reference_of_tensors

ROWS = "rows."
REFERENCE = "reference."
_LENGTH = struct.Struct("<Q")
_FINGERPRINT = re.compile(r"^[0-9a-f]{8,64}$")


@dataclass(frozen=True, slots=True)
class HeadFile:
    """What such a file holds; `rows` and `reference` None where it came without."""

    manifest: HeadManifest
    head: Head
    settings: SettingsRequest
    rows: ExampleRows | None
    reference: Reference | None


def write_head_file(
    manifest: HeadManifest,
    head: Head,
    settings: VersionSettings,
    rows: ExampleRows | None,
    reference: Reference | None = None,
) -> bytes:
    """The file of a version."""
    chosen = settings.model_dump(include={"min_confidence", "thresholds"})
    tensors: dict[str, Any] = {
        name: np.ascontiguousarray(value) for name, value in head.tensors().items()
    }
    if rows is not None:
        tensors |= {ROWS + name: value for name, value in rows_as_tensors(rows).items()}
    if reference is not None:
        stored = reference_as_tensors(reference)
        tensors |= {REFERENCE + name: value for name, value in stored.items()}
    metadata = {
        "format": HEAD_FORMAT,
        "manifest": json.dumps(manifest.to_json(), ensure_ascii=False, allow_nan=False),
        "settings": json.dumps(chosen, ensure_ascii=False),
    }
    return save(tensors, metadata)


def read_head_file(data: bytes) -> HeadFile:
    """Read and check a file.

    Raises:
        BadRequest: it is not whole, or not the file of a head.
    """
    try:
        return _read(data)
    except ArtifactError as error:
        raise BadRequest(f"not the file of a head: {error}", code="bad_head_file") from error


def _read(data: bytes) -> HeadFile:
    metadata = _metadata(data)
    try:
        tensors = load(data)
        settings = SettingsRequest.model_validate_json(metadata["settings"])
    # AttributeError: an element type that numpy does not have.
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("its tensors or settings cannot be read") from error
    manifest = HeadManifest.from_json(_json(metadata["manifest"]))
    _check(manifest)
    weights = {
        name: value for name, value in tensors.items() if not name.startswith((ROWS, REFERENCE))
    }
    head = head_from_tensors(weights, manifest.bits, len(manifest.labels))
    rows = None
    if stored := _under(tensors, ROWS):
        rows = rows_of_tensors(stored, manifest.bits)
        check_rows_of(rows, manifest.kind, len(manifest.labels))
        # Numbers of the versions that they came with mean others here.
        rows = replace(rows, version=np.zeros(len(rows), dtype=np.int32))
    reference = None
    if stored := _under(tensors, REFERENCE):
        reference = reference_of_tensors(stored, manifest.bits, len(manifest.labels))
    return HeadFile(manifest, head, settings, rows, reference)


def _under(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _metadata(data: bytes) -> dict[str, str]:
    """The texts beside the tensors, which safetensors' own reader of bytes does not give."""
    if len(data) < _LENGTH.size:
        raise ArtifactError("it is too short")
    (length,) = _LENGTH.unpack_from(data)
    if length > min(len(data) - _LENGTH.size, 2 * MAX_MANIFEST_BYTES):
        raise ArtifactError("its header is cut off or too long")
    header = _json(data[_LENGTH.size : _LENGTH.size + length])
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != HEAD_FORMAT:
        raise ArtifactError(f"its format is not {HEAD_FORMAT}")
    if not all(isinstance(metadata.get(name), str) for name in ("manifest", "settings")):
        raise ArtifactError("it has no manifest or settings")
    return metadata


def _json(text: bytes | str) -> dict[str, Any]:
    """An object; without what could not be written again (lone surrogates, deep nesting, NaN)."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ArtifactError("its header is not JSON") from error
    if not isinstance(value, dict):
        raise ArtifactError("its header is not a JSON object")
    return value


def _check(manifest: HeadManifest) -> None:
    if not all(_FINGERPRINT.match(fingerprint) for fingerprint in manifest.encoders):
        raise ArtifactError("its encoders are not named by fingerprints")
    if not manifest.encoders:
        raise ArtifactError("it is for no encoder")
    if not all(0 < len(label) <= MAX_LABEL_CHARS for label in manifest.labels):
        raise ArtifactError(f"a label needs 1 to {MAX_LABEL_CHARS} characters")
    if manifest.kind == "regression" and manifest.labels != ("value",):
        raise ArtifactError("a regression has no labels")
