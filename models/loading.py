"""From a name to a running encoder: read the artifact, choose the profile, build the backend.

Only the chosen backend's library is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from models.artifact import ArtifactError
from models.encoder import Encoder
from models.identity import BACKBONE_FILES, digest_files, with_trained
from models.openvino.shape import BertShape
from models.profiles import Machine, Offer, Profile, choose_profile, this_machine
from models.source import (
    QUANTIZER_WEIGHTS,
    STORED,
    Source,
    backbone_weights,
    check_limit,
    gate_of,
    open_source,
    read_config,
    thresholds_in,
)

INT8 = Profile("openvino", "cpu", "int8")
STORED_FILES = ("model.xml", "model.bin", "tokenizer.json")
OPENVINO_FLOATS = ("openvino-cpu-bf16", "openvino-cpu-fp32")
TORCH = ("torch-cuda-bf16", "torch-cuda-fp32", "torch-cpu-bf16", "torch-cpu-fp32")


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
        BertShape.from_config(read_config(backbone))
    except ArtifactError:
        return False
    return True


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
    config = read_config(folder)
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
    config = read_config(folder)
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


def _local_digest(folder: Path, names: Sequence[str]) -> str:
    digest = digest_files(folder, names)
    if digest is None:
        raise ArtifactError(f"{folder.name} lacks one of {', '.join(names)}")
    return digest
