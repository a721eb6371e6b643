"""Bits that can be trained through: their gradients against the formulas, by hand in numpy."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.codes import pack_bits, unpack_signs
from models.training.encoder.binarize import Estimator, Standardize, binarize, to_signs

VALUES = np.array([-3.0, -1.0, -0.4, 0.0, 0.2, 1.0, 2.5], dtype=np.float32)
FLOATS = st.floats(-4, 4, width=32)


def gradient(estimator: Estimator, values: np.ndarray, sharpness: float = 1.0) -> np.ndarray:
    """Of the sum of the outputs, each times 1, 2, 3, …"""
    inputs = torch.from_numpy(values.copy()).requires_grad_()
    weights = torch.arange(1, len(values) + 1, dtype=torch.float32)
    (binarize(inputs, estimator, sharpness) * weights).sum().backward()
    assert inputs.grad is not None
    return inputs.grad.numpy()


@pytest.mark.parametrize("estimator", ["clipped", "tanh", "sign"])
@given(values=st.lists(FLOATS, min_size=8, max_size=8))
def test_forward_gives_the_bits_that_are_packed(estimator: Estimator, values: list[float]) -> None:
    floats = np.array([values], dtype=np.float32)
    signs = binarize(torch.from_numpy(floats), estimator).numpy()
    np.testing.assert_array_equal(signs, unpack_signs(pack_bits(floats)))


def test_gradients_follow_the_formulas() -> None:
    weights = np.arange(1, len(VALUES) + 1)
    np.testing.assert_allclose(gradient("sign", VALUES), weights)
    np.testing.assert_allclose(gradient("none", VALUES), weights)
    np.testing.assert_allclose(gradient("clipped", VALUES), weights * (np.abs(VALUES) <= 1))
    slope = 1 - np.tanh(VALUES) ** 2
    np.testing.assert_allclose(gradient("tanh", VALUES), weights * slope, rtol=1e-5)
    slope = 3 * (1 - np.tanh(3 * VALUES) ** 2)
    np.testing.assert_allclose(gradient("annealed", VALUES, 3.0), weights * slope, rtol=1e-4)


def test_annealed_nears_the_signs() -> None:
    values = torch.tensor([-0.5, 0.3])
    soft = binarize(values, "annealed", 1.0)
    torch.testing.assert_close(soft, torch.tanh(values))
    torch.testing.assert_close(binarize(values, "annealed", 100.0), to_signs(values))


def test_an_unknown_estimator_is_named() -> None:
    with pytest.raises(ValueError, match="gumbel"):
        binarize(torch.zeros(1), "gumbel")  # type: ignore[arg-type]
    assert "clipped" in get_args(Estimator)


def test_standardized_dimensions_are_balanced() -> None:
    chance = np.random.default_rng(0)
    centre, spread = chance.normal(size=6) * 5, chance.uniform(0.1, 9, size=6)
    layer = Standardize(6).train()
    for _ in range(300):
        batch = torch.from_numpy((chance.normal(size=(32, 6)) * spread + centre).astype(np.float32))
        last = layer(batch)
    np.testing.assert_allclose(layer.mean.numpy(), centre, atol=float(0.15 * spread.max()))
    np.testing.assert_allclose(layer.variance.numpy(), spread**2, rtol=0.25)
    assert abs(float(to_signs(last).mean())) < 0.3


def test_the_first_batch_sets_the_statistics() -> None:
    layer = Standardize(2).train()
    values = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    layer(values)
    torch.testing.assert_close(layer.mean, values.mean(dim=0))
    torch.testing.assert_close(layer.variance, values.var(dim=0, correction=0))


def test_running_statistics_are_those_of_an_exponential_average() -> None:
    """Against the first and second moments, averaged in numpy."""
    chance = np.random.default_rng(1)
    batches = [chance.normal(n, 1 + n, size=(16, 3)).astype(np.float32) for n in range(5)]
    layer = Standardize(3, momentum=0.3).train()
    first = second = np.zeros(3)
    for number, batch in enumerate(batches, 1):
        share = max(0.3, 1 / number)
        first = (1 - share) * first + share * batch.mean(axis=0)
        second = (1 - share) * second + share * (batch**2).mean(axis=0)
        layer(torch.from_numpy(batch))
    np.testing.assert_allclose(layer.mean.numpy(), first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.variance.numpy(), second - first**2, rtol=1e-4)


def test_a_text_does_not_depend_on_its_batch() -> None:
    layer = Standardize(4).train()
    layer(torch.randn(64, 4))
    layer.eval()
    some = torch.randn(5, 4)
    assert torch.equal(layer(some)[2], layer(some[2:3])[0])
    with pytest.raises(ValueError, match="3 wide, expected 4"):
        layer(torch.zeros(1, 3))
