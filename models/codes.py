"""Codes: packing bits into bytes, unpacking them, Hamming distance. numpy only.

A code is `bits` bits, packed most significant bit first into `bits // 8` bytes. A bit is set where
the value is above its threshold. The order is that of `numpy.packbits` and of Cohere's
`ubinary` embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def check_bits(bits: int) -> int:
    """Return `bits` if a code can have that width.

    Raises:
        ValueError: `bits` is not a positive multiple of 8.
    """
    if bits <= 0 or bits % 8:
        raise ValueError(f"a code needs a positive multiple of 8 bits, not {bits}")
    return bits


def pack_bits(values: NDArray[np.floating]) -> Codes:
    """Binarize and pack.

    Args:
        values: `(n, bits)` floats, already centred: a bit is set where the value is > 0.

    Returns:
        `(n, bits // 8)` uint8, most significant bit first.

    Raises:
        ValueError: `values` is not two-dimensional, or its width is no multiple of 8.
    """
    if values.ndim != 2:
        raise ValueError(f"expected (n, bits), got an array of {values.ndim} dimensions")
    check_bits(values.shape[1])
    return np.packbits(values > 0, axis=1)


def unpack_bits(codes: Codes) -> Floats:
    """Codes as zeros and ones.

    Args:
        codes: `(n, bits // 8)` uint8.

    Returns:
        `(n, bits)` float32 of 0 and 1.
    """
    return np.unpackbits(codes, axis=1).astype(np.float32)


def unpack_signs(codes: Codes) -> Floats:
    """Codes as minus one and plus one: `(n, bits // 8)` uint8 to `(n, bits)` float32."""
    signs = unpack_bits(codes)
    signs *= 2.0
    signs -= 1.0
    return signs


def stack_codes(codes: Sequence[bytes]) -> Codes:
    """Codes of equal width as one `(n, bytes)` array.

    Raises:
        ValueError: the codes differ in width.
    """
    if not codes:
        return np.zeros((0, 0), dtype=np.uint8)
    if len(set(map(len, codes))) > 1:
        raise ValueError("codes of different widths cannot be stacked")
    return np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(codes), len(codes[0]))


def hamming(a: Codes, b: Codes) -> NDArray[np.int64]:
    """Number of differing bits, row by row.

    Args:
        a: `(n, bytes)` uint8.
        b: `(n, bytes)` uint8, or `(1, bytes)` to compare one code with all.

    Returns:
        `(n,)` int64.

    Raises:
        ValueError: the widths differ.
    """
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"codes of {a.shape[-1]} and {b.shape[-1]} bytes cannot be compared")
    distances: NDArray[np.int64] = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return distances
