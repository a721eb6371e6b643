"""The network that is trained: backbone, pooling, projection, bits, and one head a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from models.training.encoder.adapters import add_adapters, folded_state
from models.training.encoder.binarize import Estimator, Standardize, binarize, to_signs
from models.training.encoder.pooler import Pooler, Pooling


@dataclass(frozen=True, slots=True)
class Design:
    """What the encoder is made of.

    Attributes:
        backbone: folder of the pretrained weights.
        layers: hidden states that are pooled.
        pooling: how each is pooled.
        mixed: the layers are one by learned weights; otherwise they are concatenated.
        bits: width of a learned projection; None takes the pooled dimensions themselves.
        estimator: how a gradient gets through the bits.
        noise: share of bits that are dropped in training, so that none is relied on alone.
        frozen_layers: of the backbone, from below; the word vectors always are.
        adapter_rank: train LoRA adapters of this rank in place of the backbone's weights; 0: those.
    """

    backbone: str
    layers: tuple[int, ...] = (-4, -3, -2, -1)
    pooling: Pooling = "mean"
    mixed: bool = False
    bits: int | None = None
    estimator: Estimator = "clipped"
    noise: float = 0.1
    frozen_layers: int = 0
    adapter_rank: int = 0


class MultiTaskCode(nn.Module):
    """From a raw embedding on: projection, bits, and a linear head for every task.

    Args:
        design: see `Design`.
        pooled: width of the raw embedding.
        classes: number of classes by task.
        keeps: width of the untrained encoder's embeddings, for a regression from the bits to them;
            0 for none.
    """

    owners: Tensor
    firsts: Tensor
    chances: Tensor

    def __init__(
        self, design: Design, pooled: int, classes: Mapping[str, int], keeps: int = 0
    ) -> None:
        super().__init__()
        self.design = design
        self.width = width = design.bits or pooled
        self.project = nn.Linear(pooled, width, bias=False) if design.bits else nn.Identity()
        if isinstance(self.project, nn.Linear):
            # Orthogonal: at the start the bits are those of a random rotation.
            nn.init.orthogonal_(self.project.weight)
        self.standardize = Standardize(width)
        self.drop = nn.Dropout(design.noise)
        self.heads = nn.ModuleDict({task: _head(width, n) for task, n in classes.items()})
        sizes = np.array(list(classes.values()), dtype=np.int64)
        # Of all heads' outputs side by side: whose each is, and where each task's begin.
        self._outputs("owners", np.repeat(np.arange(len(sizes)), sizes))
        self._outputs("firsts", np.cumsum(sizes) - sizes)
        self._outputs("chances", np.log(sizes).astype(np.float32))
        self.to_teacher = _head(width, keeps) if keeps else None
        self.sharpness = 1.0
        # Heads read values of this size: their learning rate then suits every width.
        self.unit = 4.0 * width**-0.5

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """`(b, pooled)` raw embeddings to standardised floats and to bits, both `(b, width)`."""
        floats = self.standardize(self.project(raw).float())
        if not self.training and self.design.estimator != "none":
            return floats, to_signs(floats)  # what is served, whatever it was trained by
        return floats, binarize(floats, self.design.estimator, self.sharpness)

    def _outputs(self, name: str, values: NDArray[Any]) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def plain_state(self) -> dict[str, Tensor]:
        """What is saved."""
        return self.state_dict()

    def losses(self, values: Tensor, tasks: Tensor, targets: Tensor) -> Tensor:
        """Cross entropies over their classes' logarithms: chance is 1 for every task.

        All heads are one product: a loop over tasks costs a card more than its arithmetic.

        Args:
            values: `(b, width)` floats or bits.
            tasks: `(b,)` numbers of the heads.
            targets: `(b,)` class indexes.

        Returns:
            `(b,)`.
        """
        heads = cast(Sequence[nn.Linear], list(self.heads.values()))
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([head.bias for head in heads])
        logits = functional.linear(values * self.unit, weight, bias)
        others = self.owners[None, :] != tasks[:, None]
        wanted = self.firsts[tasks] + targets
        entropies = functional.cross_entropy(
            logits.masked_fill(others, float("-inf")), wanted, reduction="none"
        )
        return entropies / self.chances[tasks]

    def logits(self, task: str, values: Tensor) -> Tensor:
        """`(b, width)` floats or bits to `(b, classes)`."""
        scores: Tensor = self.heads[task](values * self.unit)
        return scores


class MultiTaskEncoder(MultiTaskCode):
    """Token ids to standardised floats and to bits, with a linear head for every task.

    Args:
        design: see `Design`.
        classes: number of classes by task.
        keeps: see `MultiTaskCode`.
    """

    def __init__(self, design: Design, classes: Mapping[str, int], keeps: int = 0) -> None:
        # No dropout: nearly every text is seen once, so there is little to overfit to.
        # It would list the weights that are left out at every load.
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        backbone: Any = AutoModel.from_pretrained(
            Path(design.backbone),
            add_pooling_layer=False,
            dtype=torch.float32,
            attn_implementation=attention_of(design.backbone),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        pooler = Pooler(
            design.pooling,
            design.layers,
            mixed=design.mixed,
            hidden_size=backbone.config.hidden_size,
        )
        super().__init__(design, pooler.width, classes, keeps)
        self.backbone, self.pooler = backbone, pooler
        if design.adapter_rank:
            add_adapters(backbone, design.adapter_rank)
        # Half of the weights are word vectors: frozen, they are as general as before, and the
        # trained weights are small enough to ship.
        self.backbone.embeddings.requires_grad_(False)
        self.backbone.encoder.layer[: design.frozen_layers].requires_grad_(False)

    def plain_state(self) -> dict[str, Tensor]:
        """The state as it is without adapters: they are folded into the weights."""
        return folded_state(self) if self.design.adapter_rank else self.state_dict()

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(b, s)` ids to `(b, pooled)` raw embeddings of the backbone."""
        hidden: Sequence[Tensor] = self.backbone(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        raw: Tensor = self.pooler(hidden, mask)
        return raw

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`(b, s)` ids and mask to standardised floats and to bits, both `(b, width)`."""
        return super().forward(self.pooled(ids, mask))


def attention_of(backbone: str) -> str:
    """Which implementation of attention to train with.

    Eager attention is a quarter faster than SDPA on short texts of a CPU; on a card it is many
    small kernels. MPNet has no other.
    """
    kind = AutoConfig.from_pretrained(Path(backbone)).model_type
    return "sdpa" if kind == "bert" and torch.cuda.is_available() else "eager"


def _head(width: int, outputs: int) -> nn.Linear:
    head = nn.Linear(width, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
