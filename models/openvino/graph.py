"""BERT-family encoders as an OpenVINO graph, straight from their safetensors: no torch anywhere.

Source: the forward pass of `transformers`' `BertModel` (and its kin that differ in names and in
the first position), pooled as `models.pooling` does.

Keys and values are padded inside the graph to the width of the mask, the queries and all linear
layers are not. The CPU's softmax adds up whole vectors of 16 lanes and then the rest one by one; a
mask width that is a multiple of 16 leaves no rest, so a text's sums run in one order whatever its
padded length is. See docs/experiments.md, "Batch invariance".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as ops

from models.artifact import ArtifactError
from models.openvino.shape import BertShape

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
        A model with inputs `ids` `(b, s)` and `mask` `(b, k)`, int32, where k is s rounded up to
        a multiple of 16, and the output `embedding` `(b, len(layers) * hidden)` float32.

    Raises:
        ArtifactError: weights are missing or of the wrong shape, or the variant is unknown.
    """
    return _Builder(BertShape.from_config(config), weights).build(pooling, layers)


class _Builder:
    def __init__(self, shape: BertShape, weights: Weights) -> None:
        self._shape = shape
        self._weights = weights
        marker = "embeddings.word_embeddings.weight"
        names = [name for name in weights if name.endswith(marker)]
        if len(names) != 1:
            raise ArtifactError(f"the backbone has {len(names)} tensors named …{marker}")
        self._prefix = names[0].removesuffix(marker)

    def build(self, pooling: str, layers: Sequence[int]) -> ov.Model:
        ids = ops.parameter([-1, -1], np.int32, name="ids")
        mask = ops.parameter([-1, -1], np.int32, name="mask")
        ids_node, mask_node = ids.output(0), mask.output(0)
        length = ops.gather(ops.shape_of(ids_node, "i32"), _i32(1), _i32(0))
        width = ops.gather(ops.shape_of(mask_node, "i32"), _i32(1), _i32(0))
        floats = ops.convert(mask_node, "f32")
        scores_mask = ops.multiply(ops.subtract(floats, _f32(1.0)), _f32(-MASKED))
        scores_mask = ops.unsqueeze(scores_mask, _i32([1, 2]))
        short = ops.slice(floats, _i32([0]), _vector(length), _i32([1]), _i32([1]))
        present = ops.unsqueeze(short, _i32(2))
        padding = _vector(ops.subtract(width, length))
        hidden = [self._embed(ids_node, length)]
        for number in range(self._shape.layers):
            hidden.append(self._layer(number, hidden[-1], scores_mask, padding))
        try:
            wanted = [hidden[layer] for layer in layers]
        except IndexError as error:
            raise ArtifactError(f"the backbone has {len(hidden)} hidden states") from error
        pooled = [_pool(states, present, pooling) for states in wanted]
        output = ops.concat(pooled, 1) if len(pooled) > 1 else pooled[0]
        output.set_friendly_name("embedding")
        output.output(0).get_tensor().set_names({"embedding"})
        ids.output(0).get_tensor().set_names({"ids"})
        mask.output(0).get_tensor().set_names({"mask"})
        return ov.Model([ops.result(output)], [ids, mask], "encoder")

    def _embed(self, ids: Any, length: Any) -> Any:
        shape = self._shape
        words = self._tensor("embeddings.word_embeddings.weight", (-1, shape.hidden))
        table = self._tensor("embeddings.position_embeddings.weight", (-1, shape.hidden))
        # One sequence a row: the token type is always 0, so its row joins the positions.
        types = self._tensor("embeddings.token_type_embeddings.weight", (-1, shape.hidden))
        table = table[shape.first_position :] + types[0]
        if len(table) < shape.positions:
            raise ArtifactError(f"the backbone has {len(table)} positions, not {shape.positions}")
        places = ops.slice(_f32(table), _i32([0]), _vector(length), _i32([1]), _i32([0]))
        looked_up = ops.gather(_f32(words), ids, _i32(0))
        return self._norm("embeddings.LayerNorm", ops.add(looked_up, places))

    def _layer(self, number: int, states: Any, mask: Any, padding: Any) -> Any:
        name = f"encoder.layer.{number}."
        hidden = self._shape.hidden
        square = (hidden, hidden)
        scale = 1.0 / np.sqrt(hidden // self._shape.heads)
        query = self._linear(name + "attention.self.query", states, square, scale)
        key = _pad_keys(self._linear(name + "attention.self.key", states, square), padding)
        value = _pad_keys(self._linear(name + "attention.self.value", states, square), padding)
        scores = ops.matmul(
            self._split(query, [0, 2, 1, 3]), self._split(key, [0, 2, 3, 1]), False, False
        )
        shares = ops.softmax(ops.add(scores, mask), -1)
        mixed = ops.matmul(shares, self._split(value, [0, 2, 1, 3]), False, False)
        joined = ops.reshape(ops.transpose(mixed, _i32([0, 2, 1, 3])), _i32([0, 0, hidden]), True)
        attended = self._linear(name + "attention.output.dense", joined, square)
        states = self._norm(name + "attention.output.LayerNorm", ops.add(attended, states))
        width = len(self._tensor(name + "intermediate.dense.bias", (-1,)))
        inner = self._linear(name + "intermediate.dense", states, (width, hidden))
        inner = ops.gelu(inner, self._shape.activation)
        outer = self._linear(name + "output.dense", inner, (hidden, width))
        return self._norm(name + "output.LayerNorm", ops.add(outer, states))

    def _split(self, states: Any, order: list[int]) -> Any:
        """`(b, s, h)` to heads, transposed."""
        heads = self._shape.heads
        parts = ops.reshape(states, _i32([0, 0, heads, self._shape.hidden // heads]), True)
        return ops.transpose(parts, _i32(order))

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
        tensor = self._weights.get(self._prefix + name)
        if tensor is None:
            raise ArtifactError(f"the backbone lacks {name}")
        fits = len(tensor.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise ArtifactError(f"{name} has shape {tensor.shape}, expected {shape}")
        return np.asarray(tensor, dtype=np.float32)


def _pad_keys(states: Any, padding: Any) -> Any:
    """Zeros after the last token, as many as the mask is wider than the ids."""
    after = ops.concat([_i32([0]), padding, _i32([0])], 0)
    return ops.pad(states, _i32([0, 0, 0]), after, "constant", _f32(0.0))


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


def _vector(scalar: Any) -> Any:
    return ops.reshape(scalar, _i32([1]), False)


def _i32(value: Any) -> Any:
    return ops.constant(np.asarray(value, dtype=np.int32))


def _f32(value: Any) -> Any:
    return ops.constant(np.asarray(value, dtype=np.float32))
