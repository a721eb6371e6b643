"""Every way of pooling that is compared, as one module; those without parameters are served.

Source: Du et al. (2020), section 3.1 and their table over poolings and layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.pooling import AttentionPooling, LayerMix, pool, pool_first

Pooling = Literal["mean", "first", "max", "first-4", "attention"]
FIRST_TOKENS = 4


class Pooler(nn.Module):
    """Hidden states to one raw embedding a text.

    Args:
        kind: how the tokens of a layer become one vector; `first-4` takes the first four.
        layers: indexes into the hidden states; negative ones count from the last.
        mixed: the layers become one by learned weights; otherwise they are concatenated.
        hidden_size: width of a state.

    Raises:
        ValueError: `kind` is unknown.
    """

    def __init__(
        self, kind: Pooling, layers: Sequence[int], *, mixed: bool, hidden_size: int
    ) -> None:
        super().__init__()
        if kind not in get_args(Pooling):
            raise ValueError(f"unknown pooling {kind!r}; known: {', '.join(get_args(Pooling))}")
        self.kind, self.layers = kind, tuple(layers)
        self.mix = LayerMix(len(layers)) if mixed else None
        pooled_layers = 1 if mixed else len(layers)
        self.attention = (
            nn.ModuleList(AttentionPooling(hidden_size) for _ in range(pooled_layers))
            if kind == "attention"
            else None
        )
        vectors = FIRST_TOKENS if kind == "first-4" else 1
        self.width = pooled_layers * vectors * hidden_size

    def forward(self, hidden: Sequence[Tensor], mask: Tensor) -> Tensor:
        """A `(b, s, d)` tensor a layer and the `(b, s)` mask to `(b, width)` float32."""
        chosen = [hidden[layer] for layer in self.layers]
        if self.mix is not None:
            chosen = [self.mix(chosen)]
        return torch.cat([self._pool(states, mask, at) for at, states in enumerate(chosen)], dim=-1)

    def _pool(self, states: Tensor, mask: Tensor, at: int) -> Tensor:
        if self.attention is not None:
            pooled: Tensor = self.attention[at](states, mask)
            return pooled
        if self.kind == "first-4":
            return pool_first(states, mask, FIRST_TOKENS)
        return pool(states, mask, self.kind)  # type: ignore[arg-type]
