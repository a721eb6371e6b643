"""LoRA adapters in a backbone: few weights are trained, and they fold into the others at the end.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), by the peft library.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


def add_adapters(backbone: Any, rank: int) -> None:
    """Put an adapter beside every linear layer; only adapters stay trainable.

    Args:
        backbone: a transformers model; changed in place.
        rank: of the adapters' products.

    Raises:
        ImportError: peft is not installed (the extra `train`).
    """
    from peft import LoraConfig, inject_adapter_in_model

    # Twice the rank: peft's examples' factor; the learning rate is what is tuned.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    inject_adapter_in_model(config, backbone)


def folded_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with its adapters folded in, under the names it has without them."""
    from peft.tuners.lora import LoraLayer

    folded = copy.deepcopy(module)
    for layer in folded.modules():
        if isinstance(layer, LoraLayer):
            layer.merge()
    return {
        name.replace(".base_layer.", "."): value
        for name, value in folded.state_dict().items()
        if ".lora_" not in name
    }
