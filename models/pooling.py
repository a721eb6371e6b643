"""Pooling: the token states of some layers to one vector a text.

Source: "General Purpose Text Embeddings from Pre-trained Language Models for Scalable Inference"
(Du et al., 2020), section 3.1: what is extracted, and from which layers, decides what heads can
read. The concatenation of several layers carries more than the last one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

PoolingKind = Literal["mean", "first", "max"]


def pool(states: Tensor, mask: Tensor, kind: PoolingKind) -> Tensor:
    """Pool one layer.

    Args:
        states: `(b, s, d)` token states, any float type.
        mask: `(b, s)`, 1 where there is a token, 0 where there is padding. Tokens come first.
        kind: `mean` over tokens, `first` token, or `max` over tokens.

    Returns:
        `(b, d)` float32.

    Raises:
        ValueError: the shapes do not belong together, or `kind` is unknown.
    """
    if states.shape[:2] != mask.shape:
        raise ValueError(f"states {tuple(states.shape)} and mask {tuple(mask.shape)} do not match")
    states = states.float()
    if kind == "first":
        return states[:, 0]
    weights = mask.unsqueeze(-1).to(states.dtype)
    if kind == "mean":
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    if kind == "max":
        return states.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    raise ValueError(f"unknown pooling {kind!r}; known: mean, first, max")


def pool_layers(
    hidden: Sequence[Tensor], mask: Tensor, kind: PoolingKind, layers: Sequence[int]
) -> Tensor:
    """Pool several layers and concatenate them.

    Args:
        hidden: one `(b, s, d)` tensor a layer, embeddings first (as transformers returns them).
        mask: `(b, s)`.
        kind: see `pool`.
        layers: indexes into `hidden`; negative ones count from the last layer.

    Returns:
        `(b, len(layers) * d)` float32, in the order of `layers`.
    """
    return torch.cat([pool(hidden[layer], mask, kind) for layer in layers], dim=-1)
