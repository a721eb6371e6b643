"""Artifacts: weights as safetensors beside a JSON manifest. Nothing loaded is executable.

Two kinds share this file's primitives: the encoder artifact (`manifest.json` and
`quantizer.safetensors`; the backbone is named, not copied, and what training changed of it lies in
`backbone.safetensors`; serving models of single profiles in folders beside them) and the head
artifact (`manifest.json` and `weights.safetensors`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

MANIFEST = "manifest.json"
ENCODER_FORMAT = "polyhead.encoder/1"
MAX_MANIFEST_BYTES = 8 * 1024 * 1024


class ArtifactError(ValueError):
    """An artifact is missing, damaged, or of a format this version does not read."""


@dataclass(frozen=True, slots=True)
class EncoderManifest:
    """What makes an encoder, besides its weights.

    Attributes:
        name: what people call it.
        backbone: `package:NAME/FOLDER` for weights inside an installed Python package, else a
            path or a Hugging Face name.
        pooling: `mean`, `first` or `max`.
        layers: hidden-state indexes to concatenate; negative ones count from the last.
        max_tokens: longer texts are cut here, special tokens included.
        prompt: put before every text.
        long_texts: `cut` at `max_tokens`, or encoded in several overlapping `windows`.
        description: for people.
    """

    name: str
    backbone: str
    pooling: str = "mean"
    layers: tuple[int, ...] = (-1,)
    max_tokens: int = 256
    prompt: str = ""
    long_texts: Literal["cut", "windows"] = "cut"
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"format": ENCODER_FORMAT, **asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EncoderManifest:
        """Read a manifest.

        Raises:
            ArtifactError: another format, a missing field or one of the wrong type.
        """
        if data.get("format") != ENCODER_FORMAT:
            raise ArtifactError(f"expected format {ENCODER_FORMAT}, found {data.get('format')!r}")
        try:
            layers = data["layers"]
            if not isinstance(layers, list) or not all(type(layer) is int for layer in layers):
                raise TypeError("layers must be a list of integers")
            return cls(
                name=str(data["name"]),
                backbone=str(data["backbone"]),
                pooling=str(data["pooling"]),
                layers=tuple(layers),
                max_tokens=int(data["max_tokens"]),
                prompt=str(data.get("prompt", "")),
                long_texts=_long_texts(data.get("long_texts", "cut")),
                description=str(data.get("description", "")),
                extra=dict(data.get("extra", {})),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"bad encoder manifest: {error!r}") from error


def _long_texts(value: Any) -> Literal["cut", "windows"]:
    if value == "cut":
        return "cut"
    if value == "windows":
        return "windows"
    raise ValueError(f"long_texts must be cut or windows, not {value!r}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact folder.

    Raises:
        ArtifactError: no manifest, too large, or not a JSON object.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path.name} in {folder.name} is over {MAX_MANIFEST_BYTES} bytes")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"no readable manifest in {folder.name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the manifest in {folder.name} is not JSON") from error
    if not isinstance(data, dict):
        raise ArtifactError(f"the manifest in {folder.name} is not a JSON object")
    return data


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file.

    Raises:
        ArtifactError: the file is missing or no valid safetensors.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path.name} is missing in {path.parent.name}") from error
    # AttributeError: an element type that numpy does not have.
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path.name} in {path.parent.name} is damaged: {error}") from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and make it survive a power cut (the folder is synced by the caller)."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_artifact(
    folder: Path, manifest: dict[str, Any], tensors: dict[str, NDArray[Any]], weights_name: str
) -> None:
    """Write manifest and weights into the existing, empty `folder`, durably."""
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    write_durably(folder / weights_name, save(contiguous))
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    write_durably(folder / MANIFEST, text.encode() + b"\n")
    sync_folder(folder)


def digest_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """SHA-256 of a JSON value in canonical form, hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def resolve_backbone(backbone: str) -> str:
    """Path (or hub name) of a backbone as a manifest names it.

    Raises:
        ArtifactError: the named package is not installed.
    """
    if not backbone.startswith("package:"):
        return backbone
    package, _, inner = backbone.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ArtifactError(f"the backbone's package {package!r} is not installed")
    return str(Path(spec.origin).parent / inner)
