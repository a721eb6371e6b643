"""BERT-family encoders as an OpenVINO graph, straight from their safetensors: no torch anywhere.

Source: the forward pass of `transformers`' `BertModel` (and its kin that differ in names and in
the first position), pooled as `models.pooling` does.

The texts of a batch lie end to end, so that linear layers and norms, nine tenths of the work, meet
no padding; only attention and pooling lay them out a row each (see `models.openvino.layout`).

Rows are a multiple of 16 wide: the CPU's softmax adds up whole vectors of 16 lanes and then the
rest one by one, and such a width leaves no rest, so that a text's sums run in one order in any
company. See docs/experiments.md, "Batch invariance".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as ops

from models.artifact import ArtifactError
from models.distances import distance_buckets
from models.openvino.shape import BertShape, name_prefix
from models.packing import PACKED_MULTIPLE, round_up

# What MPNet calls otherwise.
MPNET_NAMES = {
    "attention.self.query": "attention.attn.q",
    "attention.self.key": "attention.attn.k",
    "attention.self.value": "attention.attn.v",
    "attention.output.dense": "attention.attn.o",
    "attention.output.LayerNorm": "attention.LayerNorm",
}
# Inputs and how many dimensions each has.
RANKS = {"ids": 1, "places": 1, "slots": 2, "mask": 2, "back": 1}
MASKED = -1e4  # far below any attention score, and within every float type's range
Weights = Mapping[str, NDArray[Any]]


def build_graph(
    config: Mapping[str, Any], weights: Weights, pooling: str, layers: Sequence[int]
) -> ov.Model:
    """The graph of an encoder, up to its pooled embedding.

    Args:
        config: the backbone's `config.json`.
        weights: its tensors, under the names of `BertModel` (a prefix such as `bert.` is allowed).
        pooling: `mean`, `first` or `max`.
        layers: hidden states to pool and concatenate; negative ones count from the last.

    Returns:
        A model whose inputs are a `models.openvino.layout.Layout`, and whose output `embedding` is
        `(b, len(layers) * hidden)` float32.

    Raises:
        ArtifactError: weights are missing or of the wrong shape, or the variant is unknown.
    """
    return _Builder(BertShape.from_config(config), weights).build(pooling, layers)


class _Builder:
    def __init__(self, shape: BertShape, weights: Weights) -> None:
        self._shape = shape
        self._weights = weights
        self._prefix = name_prefix(weights)
        self._names = MPNET_NAMES if shape.distance_buckets else {}

    def build(self, pooling: str, layers: Sequence[int]) -> ov.Model:
        inputs = {name: ops.parameter([-1] * rank, np.int32) for name, rank in RANKS.items()}
        for name, node in inputs.items():
            node.output(0).get_tensor().set_names({name})
        rows = _Rows(inputs["slots"].output(0), inputs["mask"].output(0), inputs["back"].output(0))
        hidden = [self._embed(inputs["ids"].output(0), inputs["places"].output(0))]
        bias = rows.scores_mask
        if self._shape.distance_buckets:
            bias = ops.add(self._distance_bias(rows.width), bias)
        for number in range(self._shape.layers):
            hidden.append(self._layer(number, hidden[-1], rows, bias))
        try:
            wanted = [hidden[layer] for layer in layers]
        except IndexError as error:
            raise ArtifactError(f"the backbone has {len(hidden)} hidden states") from error
        form = (self._shape.hidden,)
        pooled = [_pool(rows.of(states, form), rows.present, pooling) for states in wanted]
        output = ops.concat(pooled, 1) if len(pooled) > 1 else pooled[0]
        output.set_friendly_name("embedding")
        output.output(0).get_tensor().set_names({"embedding"})
        return ov.Model([ops.result(output)], list(inputs.values()), "encoder")

    def _embed(self, ids: Any, places: Any) -> Any:
        shape = self._shape
        words = self._tensor("embeddings.word_embeddings.weight", (-1, shape.hidden))
        table = self._tensor("embeddings.position_embeddings.weight", (-1, shape.hidden))
        table = table[shape.first_position :]
        if shape.typed:
            # One sequence a row: the token type is always 0, so its row joins the positions.
            types = self._tensor("embeddings.token_type_embeddings.weight", (-1, shape.hidden))
            table = table + types[0]
        if len(table) < shape.positions:
            raise ArtifactError(f"the backbone has {len(table)} positions, not {shape.positions}")
        looked_up = ops.gather(_f32(words), ids, _i32(0))
        states = ops.add(looked_up, ops.gather(_f32(table), places, _i32(0)))
        # (1, m, h) from here on: of two dimensions, OpenVINO fuses nothing with the products.
        return self._norm("embeddings.LayerNorm", ops.unsqueeze(states, _i32(0)))

    def _distance_bias(self, width: Any) -> Any:
        """`(1, heads, w, w)`: what MPNet adds to scores for how far apart two tokens lie."""
        shape = self._shape
        size = (shape.distance_buckets, shape.heads)
        table = self._tensor("encoder.relative_attention_bias.weight", size)
        positions = round_up(shape.positions, PACKED_MULTIPLE)  # rows are as much wider
        by_distance = table[distance_buckets(positions, shape.distance_buckets)]
        columns = ops.range(_i32(0), width, _i32(1), "i32")
        distances = ops.subtract(ops.unsqueeze(columns, _i32(0)), ops.unsqueeze(columns, _i32(1)))
        rows = ops.add(distances, _i32(positions - 1))
        bias = ops.gather(_f32(by_distance.T), rows, _i32(1))
        return ops.unsqueeze(bias, _i32(0))

    def _layer(self, number: int, states: Any, rows: _Rows, bias: Any) -> Any:
        name = f"encoder.layer.{number}."
        hidden = self._shape.hidden
        square = (hidden, hidden)
        scale = 1.0 / np.sqrt(hidden // self._shape.heads)
        query = self._linear(name + "attention.self.query", states, square, scale)
        key = self._linear(name + "attention.self.key", states, square)
        value = self._linear(name + "attention.self.value", states, square)
        form = (self._shape.heads, hidden // self._shape.heads)
        scores = ops.matmul(
            ops.transpose(rows.of(query, form), _i32([0, 2, 1, 3])),
            ops.transpose(rows.of(key, form), _i32([0, 2, 3, 1])),
            False,
            False,
        )
        shares = ops.softmax(ops.add(scores, bias), -1)
        values = ops.transpose(rows.of(value, form), _i32([0, 2, 1, 3]))
        mixed = ops.transpose(ops.matmul(shares, values, False, False), _i32([0, 2, 1, 3]))
        joined = rows.undo(ops.reshape(mixed, _i32([1, -1, hidden]), False))
        attended = self._linear(name + "attention.output.dense", joined, square)
        states = self._norm(name + "attention.output.LayerNorm", ops.add(attended, states))
        width = len(self._tensor(name + "intermediate.dense.bias", (-1,)))
        inner = self._linear(name + "intermediate.dense", states, (width, hidden))
        inner = ops.gelu(inner, self._shape.activation)
        outer = self._linear(name + "output.dense", inner, (hidden, width))
        return self._norm(name + "output.LayerNorm", ops.add(outer, states))

    def _linear(self, name: str, states: Any, shape: tuple[int, int], scale: float = 1.0) -> Any:
        weight = self._tensor(name + ".weight", shape) * np.float32(scale)
        bias = self._tensor(name + ".bias", shape[:1]) * np.float32(scale)
        product = ops.matmul(states, _f32(weight), False, True)
        product.set_friendly_name(name)
        return ops.add(product, _f32(bias.reshape(1, 1, -1)))

    def _norm(self, name: str, states: Any) -> Any:
        weight = self._tensor(name + ".weight", (self._shape.hidden,)).reshape(1, 1, -1)
        bias = self._tensor(name + ".bias", (self._shape.hidden,)).reshape(1, 1, -1)
        normal = ops.mvn(states, _i32([-1]), True, self._shape.epsilon, "inside_sqrt")
        return ops.add(ops.multiply(normal, _f32(weight)), _f32(bias))

    def _tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        for ours, theirs in self._names.items():
            name = name.replace(ours, theirs)
        tensor = self._weights.get(self._prefix + name)
        if tensor is None:
            raise ArtifactError(f"the backbone lacks {name}")
        fits = len(tensor.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise ArtifactError(f"{name} has shape {tensor.shape}, expected {shape}")
        return np.asarray(tensor, dtype=np.float32)


class _Rows:
    """Tokens from one line into a row for each text, and back."""

    def __init__(self, slots: Any, mask: Any, back: Any) -> None:
        self._shape = ops.shape_of(slots, "i32")
        self.width = ops.gather(self._shape, _i32(1), _i32(0))
        self._slots = ops.reshape(slots, _i32([-1]), False)
        self._back = back
        floats = ops.convert(mask, "f32")
        self.present = ops.unsqueeze(floats, _i32(2))
        absent = ops.multiply(ops.subtract(floats, _f32(1.0)), _f32(-MASKED))
        self.scores_mask = ops.unsqueeze(absent, _i32([1, 2]))

    def of(self, states: Any, form: tuple[int, ...]) -> Any:
        """`(1, m, h)` to `(b, w, *form)`."""
        taken = ops.gather(states, self._slots, _i32(1))
        return ops.reshape(taken, ops.concat([self._shape, _i32(form)], 0), False)

    def undo(self, states: Any) -> Any:
        """`(1, b * w, h)` to `(1, m, h)`."""
        return ops.gather(states, self._back, _i32(1))


def _pool(states: Any, present: Any, kind: str) -> Any:
    if kind == "mean":
        total = ops.reduce_sum(ops.multiply(states, present), _i32([1]), False)
        count = ops.maximum(ops.reduce_sum(present, _i32([1]), False), _f32(1.0))
        return ops.divide(total, count)
    if kind == "first":
        return ops.gather(states, _i32(0), _i32(1))
    if kind == "max":
        hidden = ops.multiply(ops.subtract(present, _f32(1.0)), _f32(np.finfo(np.float16).max))
        return ops.reduce_max(ops.add(states, hidden), _i32([1]), False)
    raise ArtifactError(f"unknown pooling {kind!r}; known: mean, first, max")


def _i32(value: Any) -> Any:
    return ops.constant(np.asarray(value, dtype=np.int32))


def _f32(value: Any) -> Any:
    return ops.constant(np.asarray(value, dtype=np.float32))
