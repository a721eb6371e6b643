"""MPNet's second sense of place: how far apart two tokens lie, in buckets that widen. Pure.

Source: `MPNetEncoder.relative_position_bucket` of `transformers`, after Raffel et al., "Exploring
the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (2020), section 2.1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FARTHEST = 128  # all that lies farther apart shares a bucket


def distance_buckets(positions: int, buckets: int) -> NDArray[np.int64]:
    """The bucket of every distance from `1 - positions` to `positions - 1`.

    Args:
        positions: the longest text, in tokens.
        buckets: half of them for each direction; near distances have one each, those farther off
            share them by their logarithm.

    Returns:
        `(2 * positions - 1,)`: distances are those of the token looked at from the one that looks.
    """
    distances = np.arange(1 - positions, positions)
    each = buckets // 2
    exact = each // 2
    far = np.abs(distances)
    share = np.log(np.maximum(far, 1).astype(np.float32) / exact) / math.log(FARTHEST / exact)
    shared = np.minimum(exact + (share * (each - exact)).astype(np.int64), each - 1)
    found: NDArray[np.int64] = np.where(far < exact, far, shared) + each * (distances > 0)
    return found
