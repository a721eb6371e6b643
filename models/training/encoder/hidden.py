"""Hidden states of every token at every layer, kept on disk: some ten kilobytes a text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.profiles import this_machine
from models.tokenization import TextTokenizer
from models.training.encoder.batches import by_length, pad
from models.training.encoder.model import MultiTaskEncoder

MAX_TOKENS = 64  # what training reads; a longer text's states would not fit many texts in memory
BATCH = 32
States = NDArray[np.float16]


class HiddenStates:
    """States of one backbone's layers, embeddings first.

    Args:
        model: whose backbone it is.
        cache: folder of what was computed before.
    """

    def __init__(self, model: MultiTaskEncoder, cache: Path) -> None:
        self._backbone = model.backbone.eval()
        self._tokenizer = TextTokenizer(Path(model.design.backbone) / "tokenizer.json", MAX_TOKENS)
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(f"states {MAX_TOKENS}".encode())
        for value in self._backbone.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        self._digest = digest.digest()

    def __call__(self, texts: Sequence[str]) -> list[States]:
        """`(tokens, layers, d)` float16 of every text, mapped from disk."""
        key = hashlib.sha256(self._digest)
        for text in texts:
            key.update(b"\0" + text.encode())
        path = self._cache / f"states-{key.hexdigest()[:32]}.npy"
        rows = [one.windows[0] for one in self._tokenizer(texts)]
        ends = np.cumsum([len(row) for row in rows])
        if not path.is_file():
            # Under another name first: what is cut off halfway is not taken for whole.
            temporary = path.with_suffix(".part.npy")
            self._compute(rows, ends, temporary)
            temporary.replace(path)
        states: States = np.load(path, mmap_mode="r")
        return [states[end - len(row) : end] for row, end in zip(rows, ends, strict=True)]

    @torch.inference_mode()
    def _compute(
        self, rows: Sequence[NDArray[np.int32]], ends: NDArray[np.int64], to: Path
    ) -> None:
        config = self._backbone.config
        shape = (int(ends[-1]), config.num_hidden_layers + 1, config.hidden_size)
        states = np.lib.format.open_memmap(to, mode="w+", dtype=np.float16, shape=shape)
        for some in by_length(rows, BATCH):
            ids, mask = pad([rows[i] for i in some])
            with torch.autocast("cpu", torch.bfloat16, enabled=this_machine().bf16):
                hidden = self._backbone(
                    input_ids=ids, attention_mask=mask, output_hidden_states=True
                ).hidden_states
            whole = torch.stack([one.float() for one in hidden], dim=2).numpy()
            for at, row in enumerate(some):
                size = len(rows[row])
                states[ends[row] - size : ends[row]] = whole[at, :size]
        states.flush()
