"""Labelled texts from a folder of tasks: `TASK/{train,validation,test}.jsonl.gz`, `meta.json`."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts and the names of their labels, row by row."""

    texts: list[str]
    labels: list[str]

    def head(self, count: int) -> LabelledTexts:
        """The first `count` rows (the files are shuffled)."""
        return LabelledTexts(self.texts[:count], self.labels[:count])


def read_meta(root: Path, task: str) -> dict[str, Any]:
    """The task's `meta.json`: label names, licence, source, sizes."""
    meta: dict[str, Any] = json.loads((root / task / "meta.json").read_text())
    return meta


def read_split(root: Path, task: str, split: Split) -> LabelledTexts:
    """One split of one task, labels as names."""
    names = read_meta(root, task)["label_names"]
    texts, labels = [], []
    with gzip.open(root / task / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            texts.append(row["text"])
            labels.append(names[row["label"]])
    return LabelledTexts(texts, labels)
