"""models.pooling against loops over single numbers."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from models.pooling import (
    AttentionPooling,
    LayerMix,
    PoolingKind,
    pool,
    pool_first,
    pool_layers,
)

KINDS = get_args(PoolingKind)


def naive_pool(states: torch.Tensor, mask: torch.Tensor, kind: str) -> list[list[float]]:
    """The reference: lists of Python floats."""
    rows = []
    for row, keep in zip(states.tolist(), mask.tolist(), strict=True):
        tokens = [token for token, kept in zip(row, keep, strict=True) if kept]
        columns = list(zip(*tokens, strict=True))
        rows.append(
            {
                "mean": [sum(column) / len(column) for column in columns],
                "first": list(tokens[0]),
                "max": [max(column) for column in columns],
            }[kind]
        )
    return rows


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(4, 5, 3, generator=generator)
    mask = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    return states, mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_pool_equals_the_loops(kind: PoolingKind, seed: int) -> None:
    states, mask = batch(seed)
    pooled = pool(states, mask, kind)
    torch.testing.assert_close(pooled, torch.tensor(naive_pool(states, mask, kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_matter(kind: PoolingKind) -> None:
    states, mask = batch()
    other = torch.where(mask[:, :, None] == 1, states, torch.full_like(states, 1e6))
    assert torch.equal(pool(states, mask, kind), pool(other, mask, kind))


def test_max_of_negative_states_is_negative() -> None:
    states = -torch.ones(1, 3, 2)
    assert pool(states, torch.tensor([[1, 1, 0]]), "max").tolist() == [[-1.0, -1.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_pooled_in_float32(kind: PoolingKind) -> None:
    states = torch.full((1, 1000, 1), 1.0 + 2**-7, dtype=torch.bfloat16)
    pooled = pool(states, torch.ones(1, 1000, dtype=torch.int64), kind)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.tensor([[1.0 + 2**-7]]), rtol=1e-6, atol=0)


def test_a_row_of_padding_alone_has_a_finite_mean() -> None:
    assert pool(torch.ones(1, 2, 3), torch.zeros(1, 2), "mean").tolist() == [[0.0] * 3]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_concatenated_in_the_given_order(kind: PoolingKind) -> None:
    layers = [batch(seed)[0] for seed in range(4)]
    mask = batch()[1]
    pooled = pool_layers(layers, mask, kind, (-1, 0, 2))
    expected = torch.tensor(
        [
            last + first + third
            for last, first, third in zip(
                *(naive_pool(layers[i], mask, kind) for i in (3, 0, 2)), strict=True
            )
        ]
    )
    torch.testing.assert_close(pooled, expected)


def test_errors() -> None:
    states, mask = batch()
    with pytest.raises(ValueError, match=r"\(4, 5, 3\) and mask \(4, 4\)"):
        pool(states, mask[:, :4], "mean")
    with pytest.raises(ValueError, match="median"):
        pool(states, mask, "median")  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        pool_layers([states], mask, "mean", (-2,))


def naive_first(states: torch.Tensor, mask: torch.Tensor, count: int) -> list[list[float]]:
    rows = []
    for row, keep in zip(states.tolist(), mask.tolist(), strict=True):
        tokens = [token for token, kept in zip(row, keep, strict=True) if kept][:count]
        tokens += [[0.0] * states.shape[-1]] * (count - len(tokens))
        rows.append([value for token in tokens for value in token])
    return rows


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_first_tokens_equal_the_loops(count: int) -> None:
    states, mask = batch()
    pooled = pool_first(states, mask, count)
    torch.testing.assert_close(pooled, torch.tensor(naive_first(states, mask, count)))


def naive_attention(
    states: torch.Tensor, mask: torch.Tensor, query: list[float]
) -> list[list[float]]:
    rows = []
    for row, keep in zip(states.tolist(), mask.tolist(), strict=True):
        tokens = [token for token, kept in zip(row, keep, strict=True) if kept]
        scale = math.sqrt(len(query))
        weights = [
            math.exp(sum(a * b for a, b in zip(token, query, strict=True)) / scale)
            for token in tokens
        ]
        rows.append(
            [
                sum(w * token[d] for w, token in zip(weights, tokens, strict=True)) / sum(weights)
                for d in range(len(query))
            ]
        )
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_attention_equals_the_loops(seed: int) -> None:
    states, mask = batch(seed)
    pooling = AttentionPooling(3)
    torch.testing.assert_close(pooling(states, mask), pool(states, mask, "mean"))
    torch.nn.init.normal_(pooling.query)
    expected = naive_attention(states, mask, pooling.query.tolist())
    torch.testing.assert_close(pooling(states, mask), torch.tensor(expected))
    pooling(states, mask).sum().backward()
    assert pooling.query.grad is not None
    assert pooling.query.grad.abs().sum() > 0


def test_attention_does_not_see_padding() -> None:
    states, mask = batch()
    pooling = AttentionPooling(3)
    torch.nn.init.normal_(pooling.query)
    other = torch.where(mask[:, :, None] == 1, states, torch.full_like(states, 1e6))
    assert torch.equal(pooling(states, mask), pooling(other, mask))


def test_a_layer_mix_equals_the_loops() -> None:
    layers = [batch(seed)[0] for seed in range(3)]
    mix = LayerMix(3)
    torch.testing.assert_close(mix(layers), sum(layers) / 3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        mix.factor.fill_(1.5)
    shares = [math.exp(w) for w in (0.5, -1.0, 2.0)]
    expected = [
        [
            [
                1.5 * sum(s * layers[n][b, t, d].item() for n, s in enumerate(shares)) / sum(shares)
                for d in range(3)
            ]
            for t in range(5)
        ]
        for b in range(4)
    ]
    torch.testing.assert_close(mix(layers), torch.tensor(expected))
    with pytest.raises(ValueError, match="2 layers, expected 3"):
        mix(layers[:2])


def test_errors_of_the_first_tokens() -> None:
    states, mask = batch()
    with pytest.raises(ValueError, match="do not match"):
        pool_first(states, mask[:, :4], 1)
    with pytest.raises(ValueError, match="at least 1"):
        pool_first(states, mask, 0)
