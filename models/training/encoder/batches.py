"""Rows in batches of about one length, so that little of a pass is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.packing import round_up
from models.tokens import Ids, pad_rows

WIDTH_MULTIPLE = 8


def by_length(rows: Sequence[Any] | NDArray[Any], size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, shortest rows first, `size` at a time."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def pad(rows: Sequence[Ids]) -> tuple[Tensor, ...]:
    """Token ids and mask, `(b, s)` each, of rows of one pass."""
    # Few widths: every new shape of a product costs its kernels' making.
    width = round_up(max(len(row) for row in rows), WIDTH_MULTIPLE)
    ids, mask = pad_rows(rows, width, 0)
    return torch.from_numpy(ids), torch.from_numpy(mask)
