"""Length buckets: every forward pass has one of a few padded lengths."""

from __future__ import annotations

from collections.abc import Sequence

# Multiples of 16: the CPU kernels give a row the same bits at any batch size then.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def bucket_for(length: int, buckets: Sequence[int]) -> int:
    """The shortest of the ascending `buckets` that holds `length` tokens.

    Raises:
        ValueError: none does.
    """
    for bucket in buckets:
        if bucket >= length:
            return bucket
    raise ValueError(f"{length} tokens are over the longest bucket, {buckets[-1]}")
