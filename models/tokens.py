"""Token ids between the tokenizer and the backbone. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenized text.

    Attributes:
        windows: token ids, special tokens included, int32 `(n,)` each; one window unless the text
            is over the limit and long texts are encoded in windows.
        truncated: the end of the text was cut off.
    """

    windows: tuple[Ids, ...]
    truncated: bool

    def __len__(self) -> int:
        """Tokens of all windows."""
        return sum(len(ids) for ids in self.windows)


def pad_rows(rows: Sequence[Ids], length: int, pad_id: int) -> tuple[Ids, Ids]:
    """Token ids and mask, both `(b, length)` int32.

    Raises:
        ValueError: a row is longer than `length`.
    """
    ids = np.full((len(rows), length), pad_id, dtype=np.int32)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        size = len(row)
        if size > length:
            raise ValueError(f"row {index} has {size} tokens, the batch {length}")
        ids[index, :size] = row
        mask[index, :size] = 1
    return ids, mask
