"""From a name to a running encoder: read the artifact, choose the profile, build the backend.

Only the chosen backend's library is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.artifact import (
    ArtifactError,
    EncoderManifest,
    read_manifest,
    read_tensors,
    resolve_backbone,
)
from models.encoder import Encoder
from models.identity import BACKBONE_FILES, digest_files, with_trained
from models.openvino.shape import BertShape, name_prefix
from models.profiles import Machine, Offer, Profile, choose_profile, this_machine

QUANTIZER_WEIGHTS = "quantizer.safetensors"
TRAINED_WEIGHTS = "backbone.safetensors"  # tensors in place of the backbone's own
INT8 = Profile("openvino", "cpu", "int8")
STORED = "openvino-int8"  # folder of the quantized model inside an artifact
STORED_FILES = ("model.xml", "model.bin", "tokenizer.json")
GATE = "gate.json"
OPENVINO_FLOATS = ("openvino-cpu-bf16", "openvino-cpu-fp32")
TORCH = ("torch-cuda-bf16", "torch-cuda-fp32", "torch-cpu-bf16", "torch-cpu-fp32")
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


def load_encoder(
    source: str,
    *,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 1,
    max_tokens: int = 0,
    long_texts: Literal["", "cut", "windows"] = "",
    machine: Machine | None = None,
) -> Encoder:
    """Load an artifact folder, or any Hugging Face encoder by path or name.

    A bare backbone is mean-pooled over its last layer and binarized by plain signs.

    Args:
        source: folder, path or name.
        backend: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu` or `cuda`.
        dtype: `auto`, `int8`, `bf16` or `fp32`.
        threads: cores to use on a CPU.
        max_tokens: another limit than the manifest's, 0 for that.
        long_texts: `cut` or `windows`, empty for the manifest's.
        machine: for tests; the machine at hand by default.

    Raises:
        ArtifactError: nothing loadable there, or no profile of it runs here.
    """
    found = open_source(source)
    manifest = found.manifest
    if max_tokens:
        manifest = replace(manifest, max_tokens=max_tokens)
    if long_texts:
        manifest = replace(manifest, long_texts=long_texts)
    found = replace(found, manifest=manifest)
    profile = choose_profile(
        machine or this_machine(), offers_of(found), backend=backend, device=device, dtype=dtype
    )
    return load_profile(found, profile, threads)


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


def offers_of(source: Source) -> dict[str, Offer]:
    """The profiles that an encoder can run in, with what the gate measured of each."""
    measured = gate_of(source.folder)
    names: list[str] = []
    if source.stored is not None:
        names.append(INT8.name)
    if _has_graph(Path(source.backbone)):
        names += OPENVINO_FLOATS
    names += TORCH
    return {name: Offer(measured.get(name)) for name in names}


def _has_graph(backbone: Path) -> bool:
    """Whether the OpenVINO backend can build this backbone from its local files."""
    if not all((backbone / name).is_file() for name in BACKBONE_FILES):
        return False
    try:
        BertShape.from_config(_read_config(backbone))
    except ArtifactError:
        return False
    return True


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


def load_profile(source: Source, profile: Profile, threads: int = 1) -> Encoder:
    """Load one profile of an encoder.

    Raises:
        ArtifactError: weights are missing or do not belong together.
    """
    if profile.backend == "torch":
        from models.torch_encoder import TorchEncoder

        return TorchEncoder(
            source.manifest,
            source.backbone,
            profile,
            thresholds_in(source.folder),
            trained=source.trained,
            threads=threads,
        )
    if profile == INT8:
        return _stored_int8(source, threads)
    return _openvino_floats(source, profile, threads)


def _stored_int8(source: Source, threads: int) -> Encoder:
    from models.openvino.encoder import OpenVINOEncoder

    folder = source.stored
    if folder is None:
        raise ArtifactError(f"{source.manifest.name} has no {STORED} model")
    thresholds = thresholds_in(folder)
    if thresholds is None:
        raise ArtifactError(f"{QUANTIZER_WEIGHTS} is missing in {STORED}")
    config = _read_config(folder)
    check_limit(source.manifest, config)
    return OpenVINOEncoder(
        source.manifest,
        INT8,
        folder / "model.xml",
        folder / "tokenizer.json",
        thresholds,
        _local_digest(folder, STORED_FILES),
        threads=threads,
        pad_id=int(config.get("pad_token_id") or 0),
    )


def _openvino_floats(source: Source, profile: Profile, threads: int) -> Encoder:
    """Build the graph from the backbone's own files."""
    from models.openvino.encoder import OpenVINOEncoder
    from models.openvino.graph import build_graph

    folder = Path(source.backbone)
    config = _read_config(folder)
    manifest = source.manifest
    check_limit(manifest, config)
    graph = build_graph(config, backbone_weights(source), manifest.pooling, manifest.layers)
    thresholds = thresholds_in(source.folder)
    width = graph.output(0).partial_shape[1].get_length()
    return OpenVINOEncoder(
        manifest,
        profile,
        graph,
        folder / "tokenizer.json",
        np.zeros(width, dtype=np.float32) if thresholds is None else thresholds,
        with_trained(_local_digest(folder, BACKBONE_FILES), source.trained),
        threads=threads,
        pad_id=int(config.get("pad_token_id") or 0),
    )


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


def _local_digest(folder: Path, names: Sequence[str]) -> str:
    digest = digest_files(folder, names)
    if digest is None:
        raise ArtifactError(f"{folder.name} lacks one of {', '.join(names)}")
    return digest


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
        return _read_config(Path(source))
    if Path(source).exists():
        raise ArtifactError(f"no encoder at {source!r}: config.json is missing")
    try:  # a hub name: only transformers can fetch it
        from transformers import AutoConfig

        config: Mapping[str, Any] = AutoConfig.from_pretrained(source).to_dict()
    except (ImportError, OSError, ValueError) as error:
        raise ArtifactError(f"no encoder at {source!r}: {error}") from error
    return config


def _read_config(folder: Path) -> dict[str, Any]:
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
