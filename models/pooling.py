"""Pooling: the token states of some layers to one vector a text.

Source: "General Purpose Text Embeddings from Pre-trained Language Models for Scalable Inference"
(Du et al., 2020), section 3.1: what is extracted, and from which layers, decides what heads can
read. The concatenation of several layers carries more than the last one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def pool_first(states: Tensor, mask: Tensor, count: int) -> Tensor:
    """The first tokens' states side by side, zeros where a text has fewer.

    Args:
        states: `(b, s, d)` token states.
        mask: `(b, s)`.
        count: tokens to take.

    Returns:
        `(b, count * d)` float32.

    Raises:
        ValueError: the shapes do not belong together, or `count` is under 1.
    """
    if states.shape[:2] != mask.shape:
        raise ValueError(f"states {tuple(states.shape)} and mask {tuple(mask.shape)} do not match")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    kept = states[:, :count].float() * mask[:, :count, None]
    missing = count - kept.shape[1]
    return functional.pad(kept, (0, 0, 0, missing)).flatten(start_dim=1)


class AttentionPooling(nn.Module):
    """A learned query looks at the tokens: a mean whose weights are a softmax over the text.

    Source: the self-attentive pooling of Lin et al., "A Structured Self-attentive Sentence
    Embedding" (2017), with one hop and no hidden layer. At first it is the mean.

    Args:
        width: of the states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """`(b, s, d)` states and `(b, s)` mask to `(b, d)` float32."""
        states = states.float()
        scores = (states @ self.query) / states.shape[-1] ** 0.5
        shares = scores.masked_fill(mask == 0, float("-inf")).softmax(dim=1)
        return torch.einsum("bs,bsd->bd", shares, states)


class LayerMix(nn.Module):
    """One state a token from all layers: their mean by learned weights, times a learned factor.

    Source: the scalar mix of Peters et al., "Deep contextualized word representations" (2018).
    At first all layers count alike.

    Args:
        layers: how many there are.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        """`layers` tensors `(b, s, d)` to one, float32.

        Raises:
            ValueError: another number of layers.
        """
        if len(hidden) != len(self.weights):
            raise ValueError(f"{len(hidden)} layers, expected {len(self.weights)}")
        shares = self.weights.softmax(dim=0)
        mixed = torch.einsum("l,lbsd->bsd", shares, torch.stack([one.float() for one in hidden]))
        return self.factor * mixed
