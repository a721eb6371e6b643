"""A classifier of its own for one task: backbone, mean of the last layer, one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging

from models.pooling import pool
from models.tokenization import TextTokenizer
from models.tokens import Ids
from models.training.datasets import Split
from models.training.encoder.fitting import outputs_of
from models.training.encoder.model import attention_of
from models.training.encoder.suite import TaskData, load_task


class TextClassifier(nn.Module):
    """Token ids to logits.

    Args:
        backbone: a transformers encoder, all of whose weights are trained.
        outputs: classes, or dimensions.
    """

    def __init__(self, backbone: Any, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(b, s)` ids and mask to `(b, outputs)` float32."""
        states = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = pool(states, mask, "mean")
        # The last product in full: bf16 keeps three digits, too few to teach from.
        with torch.autocast(ids.device.type, enabled=False):
            logits: Tensor = self.head(pooled)
        return logits


def load_backbone(folder: Path) -> Any:
    """A pretrained encoder.

    Its dropout stays as it was pretrained (0.1 for MiniLM): a task's few rows are seen several
    times.
    """
    return AutoModel.from_pretrained(
        folder,
        add_pooling_layer=False,
        dtype=torch.float32,
        attn_implementation=attention_of(str(folder)),
    )


def quiet() -> None:
    """No notes of transformers on weights that are not used (the pooler's) or not there."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How much of a task's data is taken.

    Attributes:
        train_rows, validation_rows, test_rows: at most.
        max_tokens: longer texts are cut for training.
        test_tokens: likewise for validation and test; as `models.training.encoder.unseen` does.
    """

    train_rows: int = 4000
    validation_rows: int = 500
    test_rows: int = 1000
    max_tokens: int = 64
    test_tokens: int = 128


@dataclass(frozen=True, slots=True)
class ClassifierTask:
    """One task's rows as token ids, with class indexes, by split."""

    name: str
    labels: tuple[str, ...]
    ids: dict[Split, list[Ids]]
    targets: dict[Split, NDArray[np.int64]]

    def accuracy(self, network: nn.Module, split: Split) -> float:
        """In percent."""
        guesses = outputs_of(network, self.ids[split]).argmax(axis=1)
        return round(float((guesses == self.targets[split]).mean()) * 100, 3)


def read_task(data: Path, name: str, tokenizer: Path, limits: RowLimits) -> ClassifierTask:
    """Read and tokenize a task.

    Args:
        data: folder of tasks.
        name: of the task.
        tokenizer: a `tokenizer.json`.
        limits: see `RowLimits`.
    """
    rows: dict[Split, int] = {
        "train": limits.train_rows,
        "validation": limits.validation_rows,
        "test": limits.test_rows,
    }
    return tokenize_task(load_task(data, name, rows), tokenizer, limits)


def tokenize_task(task: TaskData, tokenizer: Path, limits: RowLimits) -> ClassifierTask:
    """Token ids of a task's rows."""
    short = TextTokenizer(tokenizer, limits.max_tokens)
    longer = TextTokenizer(tokenizer, limits.test_tokens)

    def ids(split: Split, texts: Sequence[str]) -> list[Ids]:
        return [one.windows[0] for one in (short if split == "train" else longer)(texts)]

    return ClassifierTask(
        task.name,
        task.labels,
        {split: ids(split, rows.texts) for split, rows in task.splits.items()},
        {split: rows.targets for split, rows in task.splits.items()},
    )
