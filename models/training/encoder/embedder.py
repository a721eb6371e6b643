"""Embeddings of texts by encoders as they are trained, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from models.artifact import resolve_backbone
from models.tokenization import TextTokenizer
from models.tokens import Ids
from models.training.backbones import SHIPPED, parse_backbone
from models.training.encoder.batches import by_length, pad
from models.training.encoder.fitting import this_hardware
from models.training.encoder.kept import kept
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.suite import load_task

MAX_TOKENS = 128
BATCH = 32
CARD_BATCH = 256
CALIBRATION_ROWS = 100
Floats = NDArray[np.float32]


class Embedder:
    """Raw embeddings of one encoder, before thresholds.

    Args:
        model: the encoder.
        cache: folder of what was made before.
        max_tokens: longer texts are cut.
    """

    def __init__(self, model: MultiTaskEncoder, cache: Path, max_tokens: int = MAX_TOKENS) -> None:
        self._model = model.eval()
        self._cache, self._max_tokens = cache, max_tokens
        self._hardware = this_hardware()
        digest = hashlib.sha256(f"{max_tokens} {model.design}".encode())
        for value in model.state_dict().values():
            digest.update(value.contiguous().cpu().numpy().tobytes())
        self._digest = digest.digest()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """`(n, width)` float32."""
        return kept(self._cache, self._digest, texts, self._embed)

    def _embed(self, texts: Sequence[str]) -> Floats:
        tokenizer = Path(self._model.design.backbone) / "tokenizer.json"
        tokens = TextTokenizer(tokenizer, self._max_tokens)(texts)
        return self.of_tokens([one.windows[0] for one in tokens])

    @torch.inference_mode()
    def of_tokens(self, rows: Sequence[Ids]) -> Floats:
        """`(n, width)` float32 of token ids; nothing is kept on disk."""
        device = self._hardware.device
        model = self._model.to(device)
        result = np.zeros((len(rows), model.width), dtype=np.float32)
        for some in by_length(rows, BATCH if device.type == "cpu" else CARD_BATCH):
            inputs = [tensor.to(device) for tensor in pad([rows[i] for i in some])]
            with torch.autocast(device.type, torch.bfloat16, enabled=self._hardware.bf16):
                pooled = model.pooled(*inputs)
            result[some] = model.project(pooled.float()).cpu().numpy()
        return result


def calibration_texts(data: Path, tasks: Sequence[str]) -> list[str]:
    """What thresholds are measured on: the first training rows of tasks that were trained on."""
    return [
        text
        for name in tasks
        for text in load_task(data, name, {"train": CALIBRATION_ROWS}).splits["train"].texts
    ]


def untrained(named: str = SHIPPED) -> MultiTaskEncoder:
    """A backbone as it comes, mean-pooled; by default what the shipped encoder starts from.

    Args:
        named: see `parse_backbone`.

    Raises:
        ValueError: it names none.
    """
    backbone, layers = parse_backbone(named)
    return MultiTaskEncoder(Design(resolve_backbone(backbone), layers=layers), {}).eval()


def trained(folder: Path) -> MultiTaskEncoder:
    """The best weights of a training run."""
    about = json.loads((folder / "about.json").read_text())
    # Adapters are folded into the weights that were saved.
    saved = {**about["design"], "layers": tuple(about["design"]["layers"]), "adapter_rank": 0}
    design = Design(**saved)
    model = MultiTaskEncoder(design, {})
    missing, unexpected = model.load_state_dict(
        load_file(folder / "encoder.safetensors"), strict=False
    )
    if unexpected or any(not name.startswith("backbone.embeddings.") for name in missing):
        raise ValueError(f"{folder} does not fit its design: {unexpected or missing}")
    return model.eval()


def blended(model: MultiTaskEncoder, share: float) -> MultiTaskEncoder:
    """The weights part of the way from the untrained backbone to the trained one.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): what lies between is
    often better than either on what was not trained on.
    """
    start = untrained().state_dict()
    mixed = {
        name: torch.lerp(start[name], value, share) if name.startswith("backbone.") else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    return model
