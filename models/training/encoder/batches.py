"""Rows in batches of about one length, so that little of a pass is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_length(rows: Sequence[Any] | NDArray[Any], size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, shortest rows first, `size` at a time."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
