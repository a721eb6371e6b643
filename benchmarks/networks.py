"""The networks of benchmarks/break_even.py in the engine that serves, from their shapes alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

from app.settings import DEFAULT_ENCODER
from models.artifact import EncoderManifest, resolve_backbone
from models.encoder import Encoder
from models.loading import INT8, load_profile
from models.openvino.encoder import OpenVINOEncoder
from models.profiles import Dtype, Profile
from models.source import Source, open_source
from models.training.backbones import BACKBONE
from models.training.encoder.cost import TransformerShape
from models.training.quantize import quantized_graph

HEAD_WIDTH = 64  # of the attention, as in BERT and RoBERTa; MiniLM's students have 32
SMALL_HEAD_WIDTH = 32


def shipped_encoder(dtype: Dtype, threads: int) -> Encoder:
    """The encoder that the service comes with."""
    return load_profile(open_source(DEFAULT_ENCODER), Profile("openvino", "cpu", dtype), threads)


def network(
    folder: Path, dtype: Dtype, threads: int, calibration: list[str], max_tokens: int = 512
) -> Encoder:
    """A BERT folder in the engine, its last layer mean-pooled; int8 as the shipped one is made.

    Args:
        folder: weights and tokenizer.
        dtype: number format.
        threads: workers, one core each.
        calibration: texts whose activations give int8 its scales.
        max_tokens: longer texts are cut.
    """
    manifest = EncoderManifest(folder.name, str(folder), max_tokens=max_tokens)
    source = Source(manifest, None, str(folder))
    profile = Profile("openvino", "cpu", dtype)
    if profile != INT8:
        return load_profile(source, profile, threads)
    graph = quantized_graph(source, calibration)
    width = graph.output(0).partial_shape[1].get_length()
    return OpenVINOEncoder(
        manifest,
        profile,
        graph,
        folder / "tokenizer.json",
        np.zeros(width, dtype=np.float32),
        "not served",
        threads=threads,
    )


def write_random(folder: Path, shape: TransformerShape) -> Path:
    """A BERT folder with random weights and MiniLM's tokenizer: time does not depend on weights."""
    backbone = Path(resolve_backbone(BACKBONE))
    head_width = HEAD_WIDTH if shape.hidden >= 768 else SMALL_HEAD_WIDTH
    config = BertConfig(  # type: ignore[no-untyped-call]
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_attention_heads=shape.hidden // head_width,
    )
    torch.manual_seed(0)
    model: Any = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    model.half().save_pretrained(folder)  # half the disk; the engine reads them as floats
    shutil.copyfile(backbone / "tokenizer.json", folder / "tokenizer.json")
    return folder
