"""Bits that can be trained through: standardised floats to ±1, with a gradient.

Source: the straight-through estimator of Bengio et al., "Estimating or Propagating Gradients
Through Stochastic Neurons" (2013), and its clipped form of Hubara et al., "Binarized Neural
Networks" (2016), as used for text embeddings by Du et al. (2020), section 3.2.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Estimator = Literal["clipped", "tanh", "annealed", "sign", "none"]


class _ClippedSign(torch.autograd.Function):
    """Sign forward; backward the gradient of a hard tanh: 1 within [-1, 1], 0 outside."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return to_signs(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors
        passed: Tensor = gradient * (values.abs() <= 1)
        return passed


def to_signs(values: Tensor) -> Tensor:
    """+1 where a value is above zero, else -1: what a packed bit says."""
    return torch.where(values > 0, 1.0, -1.0).to(values.dtype)


def binarize(values: Tensor, estimator: Estimator, sharpness: float = 1.0) -> Tensor:
    """Floats to ±1, or near it, with a gradient.

    Args:
        values: any shape, centred; about unit variance.
        estimator: `clipped` (signs, the gradient of a hard tanh), `tanh` (signs, the gradient of
            tanh), `annealed` (tanh of `sharpness` times the values: signs only in the limit),
            `sign` (signs, the gradient of the identity), `none` (the values themselves).
        sharpness: of `annealed`.

    Returns:
        The same shape.

    Raises:
        ValueError: `estimator` is unknown.
    """
    if estimator == "none":
        return values
    if estimator == "clipped":
        signs: Tensor = _ClippedSign.apply(values)  # type: ignore[no-untyped-call]
        return signs
    if estimator == "annealed":
        return torch.tanh(sharpness * values)
    if estimator == "tanh":
        soft = torch.tanh(values)
        return soft + (to_signs(values) - soft).detach()
    if estimator == "sign":
        return values + (to_signs(values) - values).detach()
    raise ValueError(f"unknown estimator {estimator!r}")


class Standardize(nn.Module):
    """Each dimension less its running mean, over its running deviation.

    Centred dimensions give balanced bits. Running statistics, and not those of the batch: what a
    text becomes must not depend on its batch-mates, in training as in serving.

    Args:
        width: dimensions.
        momentum: share of a new batch in the running statistics.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, width: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, values: Tensor) -> Tensor:
        """`(b, width)` floats to the same shape.

        Raises:
            ValueError: another width.
        """
        if values.shape[-1] != len(self.mean):
            raise ValueError(f"values are {values.shape[-1]} wide, expected {len(self.mean)}")
        if self.training:
            self._watch(values.detach())
        return (values - self.mean) / torch.sqrt(self.variance + 1e-6)

    def _watch(self, values: Tensor) -> None:
        self.batches += 1
        # The first batches count for more, as there is nothing before them.
        share = max(self.momentum, 1.0 / float(self.batches))
        batch_mean = values.mean(dim=0)
        spread = (values - batch_mean).square().mean(dim=0) + (batch_mean - self.mean).square() * (
            1 - share
        )
        self.mean += share * (batch_mean - self.mean)
        self.variance += share * (spread - self.variance)
