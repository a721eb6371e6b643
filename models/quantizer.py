"""Quantizer: a float embedding to packed bits, on the embedding's own device."""

from __future__ import annotations

import torch
from torch import Tensor

from models.codes import check_bits


class SignQuantizer:
    """One bit a dimension: set where the value is above that dimension's threshold.

    Thresholds at each dimension's median over ordinary text make a bit set about half of the
    time, which is when it says most. Plain signs (thresholds of zero) waste dimensions that are
    nearly always of one sign: transformer states have many.

    Args:
        thresholds: `(bits,)` float32.

    Raises:
        ValueError: the number of thresholds is no multiple of 8.
    """

    def __init__(self, thresholds: Tensor) -> None:
        self.bits = check_bits(thresholds.numel())
        self.thresholds = thresholds.float()
        self._weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8)

    def to(self, device: torch.device) -> SignQuantizer:
        """Move the constants to `device`, so that only packed codes ever leave it."""
        self.thresholds = self.thresholds.to(device)
        self._weights = self._weights.to(device)
        return self

    def centre(self, embeddings: Tensor) -> Tensor:
        """`(b, bits)` embeddings less their thresholds: the signs of the result are the bits.

        Raises:
            ValueError: the widths differ.
        """
        if embeddings.shape[-1] != self.bits:
            raise ValueError(f"embeddings are {embeddings.shape[-1]} wide, the code {self.bits}")
        return embeddings - self.thresholds

    def pack(self, centred: Tensor) -> Tensor:
        """`(b, bits)` centred floats to `(b, bits // 8)` uint8, most significant bit first."""
        bits = (centred > 0).to(torch.uint8).reshape(*centred.shape[:-1], -1, 8)
        return torch.sum(bits * self._weights, dim=-1, dtype=torch.uint8)
