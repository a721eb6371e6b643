"""Folds for cross-fitting: equal codes together, labels spread evenly, the same every time."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.head_runtime import TaskKind


def group_codes(codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of equal codes as groups.

    Returns:
        The first row of each group, and each row's group.
    """
    # As one opaque value a row, which numpy sorts by memory comparison.
    rows = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1]))).reshape(-1)
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return first, group.reshape(-1)


def draw_order(codes: Codes, seed: int) -> NDArray[np.uint64]:
    """A pseudo-random number a code, which depends on nothing but code and seed.

    What is drawn by it stays drawn when other rows come and go: so versions trained on growing
    data hold out the same rows, and can be compared on them.
    """
    salt = seed.to_bytes(8, "little")
    digests = b"".join(blake2b(row.tobytes(), digest_size=8, salt=salt).digest() for row in codes)
    return np.frombuffer(digests, dtype=np.uint64)


def assign_folds(
    codes: Codes, targets: NDArray[Any], kind: TaskKind, folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each row, 0 to `folds` - 1.

    Groups of equal codes are dealt out in turn, sorted by target: each fold gets its share of
    every label, of every set of labels, or of low and high values.
    """
    first, group = group_codes(codes)
    order = draw_order(codes[first], seed)
    of_group = targets[first]
    keys = of_group.T if kind == "multi_label" else of_group[None]
    dealt = np.lexsort((order, *keys))
    fold = np.empty(len(first), dtype=np.int64)
    fold[dealt] = np.arange(len(first)) % folds
    return fold[group]
