"""What an encoder is before it is loaded: its artifact's files, read and checked.

Nothing here imports a backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import (
    ArtifactError,
    EncoderManifest,
    read_manifest,
    read_tensors,
    resolve_backbone,
)
from models.identity import digest_files, with_trained
from models.openvino.shape import name_prefix

QUANTIZER_WEIGHTS = "quantizer.safetensors"
TRAINED_WEIGHTS = "backbone.safetensors"  # tensors in place of the backbone's own
STORED = "openvino-int8"  # folder of the quantized model inside an artifact
GATE = "gate.json"
# RoBERTa and its kin number positions from the padding id + 1.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text"}


@dataclass(frozen=True, slots=True)
class Source:
    """An encoder before it is loaded.

    Attributes:
        manifest: what it is.
        folder: of the artifact; None for a bare backbone.
        backbone: the resolved path or hub name of the weights.
    """

    manifest: EncoderManifest
    folder: Path | None
    backbone: str

    @property
    def stored(self) -> Path | None:
        """The quantized model's folder, if there is one."""
        if self.folder is None or not (self.folder / STORED / "model.xml").is_file():
            return None
        return self.folder / STORED

    @property
    def trained(self) -> Path | None:
        """The file of trained weights, if the artifact has one."""
        if self.folder is None or not (self.folder / TRAINED_WEIGHTS).is_file():
            return None
        return self.folder / TRAINED_WEIGHTS


def open_source(source: str) -> Source:
    """Read what an encoder is.

    Raises:
        ArtifactError: neither an artifact nor a backbone.
    """
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        manifest = EncoderManifest.from_json(read_manifest(folder))
        return Source(manifest, folder, _resolved(manifest.backbone))
    limit = position_limit(_config(source))
    name = folder.name or source
    manifest = EncoderManifest(name=name, backbone=source, max_tokens=min(limit, 512))
    return Source(manifest, None, source)


def gate_of(folder: Path | None) -> dict[str, float]:
    """Change of mean accuracy against fp32 by profile name, as far as it was measured.

    Raises:
        ArtifactError: the file is there and damaged.
    """
    if folder is None or not (folder / GATE).is_file():
        return {}
    try:
        profiles = json.loads((folder / GATE).read_bytes())["profiles"]
        return {name: float(row["accuracy_change"]) for name, row in profiles.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{GATE} of {folder.name} is damaged: {error!r}") from error


def backbone_weights(source: Source) -> dict[str, NDArray[Any]]:
    """The tensors of a local backbone, trained ones in place of its own.

    Raises:
        ArtifactError: a file is damaged, or a trained tensor has no counterpart of its shape.
    """
    weights = read_tensors(Path(source.backbone) / "model.safetensors")
    if source.trained is None:
        return weights
    prefix = name_prefix(weights)
    for name, tensor in read_tensors(source.trained).items():
        own = weights.get(prefix + name)
        if own is None or own.shape != tensor.shape:
            has = "none" if own is None else str(own.shape)
            raise ArtifactError(
                f"{TRAINED_WEIGHTS} holds {name} of shape {tensor.shape}, the backbone {has}"
            )
        weights[prefix + name] = tensor
    return weights


def backbone_digest(source: Source) -> str | None:
    """Digest of a local backbone and of what training changed; None when a file is missing."""
    of_files = digest_files(Path(source.backbone))
    return None if of_files is None else with_trained(of_files, source.trained)


def thresholds_in(folder: Path | None) -> NDArray[np.float32] | None:
    """The quantizer's thresholds, `(bits,)` float32; None when the folder has none.

    Raises:
        ArtifactError: the file is damaged.
    """
    if folder is None or not (folder / QUANTIZER_WEIGHTS).is_file():
        return None
    thresholds = read_tensors(folder / QUANTIZER_WEIGHTS).get("thresholds")
    if thresholds is None or thresholds.ndim != 1 or not np.isfinite(thresholds).all():
        raise ArtifactError(f"{QUANTIZER_WEIGHTS} must hold finite `thresholds` of shape (bits,)")
    return np.ascontiguousarray(thresholds, dtype=np.float32)


def check_limit(manifest: EncoderManifest, config: Mapping[str, Any]) -> None:
    """Refuse a limit that the backbone has no positions for.

    Raises:
        ArtifactError: it is over the limit, or leaves no room for a text.
    """
    limit = position_limit(config)
    if not 4 <= manifest.max_tokens <= limit:
        raise ArtifactError(f"max_tokens is {manifest.max_tokens}, the model takes 4 to {limit}")


def position_limit(config: Mapping[str, Any]) -> int:
    """The longest input of a backbone, in tokens."""
    positions = int(config.get("max_position_embeddings") or 512)
    if config.get("model_type", "") in OFFSET_POSITIONS:
        pad = config.get("pad_token_id")
        positions -= (1 if pad is None else int(pad)) + 1
    return positions


def _config(source: str) -> Mapping[str, Any]:
    if (Path(source) / "config.json").is_file():
        return read_config(Path(source))
    if Path(source).exists():
        raise ArtifactError(f"no encoder at {source!r}: config.json is missing")
    try:  # a hub name: only transformers can fetch it
        from transformers import AutoConfig

        config: Mapping[str, Any] = AutoConfig.from_pretrained(source).to_dict()
    except (ImportError, OSError, ValueError) as error:
        raise ArtifactError(f"no encoder at {source!r}: {error}") from error
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a folder.

    Raises:
        ArtifactError: there is none, or it is no JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"no readable config.json in {folder.name}") from error
    if not isinstance(config, dict):
        raise ArtifactError(f"config.json in {folder.name} is no object")
    return config


def _resolved(backbone: str) -> str:
    """The backbone's path, or its name where its package is missing: int8 serving needs none."""
    try:
        return resolve_backbone(backbone)
    except ArtifactError:
        return backbone
