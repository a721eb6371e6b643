"""models.openvino.graph against transformers' own models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from models.artifact import ArtifactError
from models.distances import distance_buckets
from models.openvino.graph import build_graph
from models.openvino.layout import lay_out
from models.packing import PACKED_MULTIPLE, round_up
from models.pooling import PoolingKind
from tests.unit.tiny import (
    FIRST_WORD,
    VOCABULARY,
    config_of,
    weights_of,
    write_bert,
    write_mpnet,
    write_roberta,
)

HIDDEN = 32
LENGTHS = ([1], [5], [16], [17], [3, 9, 17], [16, 2, 31, 16], [32, 33], [38, 1])
POOLINGS = get_args(PoolingKind)


@dataclass(frozen=True)
class Tiny:
    """A folder of weights, read by both."""

    config: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    reference: Any

    def graph(self, pooling: str = "mean", layers: Sequence[int] = (-1,)) -> Any:
        return build_graph(self.config, self.weights, pooling, layers)


def tiny(folder: Path) -> Tiny:
    reference = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    return Tiny(config_of(folder), weights_of(folder), reference)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(write_bert(tmp_path_factory.mktemp("bert"), positions=40))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(write_roberta(tmp_path_factory.mktemp("roberta"), positions=42))


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny(write_mpnet(tmp_path_factory.mktemp("mpnet"), positions=42))


def rows_of(lengths: Sequence[int], seed: int = 0) -> list[NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    return [random.integers(FIRST_WORD, VOCABULARY, n).astype(np.int32) for n in lengths]


def by_graph(
    graph: Any, rows: Sequence[NDArray[np.int32]], length: int, pad_id: int = 1
) -> NDArray[np.float32]:
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layout = lay_out(rows, round_up(length, PACKED_MULTIPLE), pad_id)
    output: NDArray[np.float32] = compiled(layout.inputs())["embedding"]
    return output


def by_transformers(
    reference: Any, rows: Sequence[NDArray[np.int32]], pooling: str, layers: Sequence[int]
) -> NDArray[np.float32]:
    """One text at a time, without any padding."""
    pooled = []
    for row in rows:
        with torch.inference_mode():
            ids = torch.from_numpy(row).long()[None]
            states = reference(input_ids=ids, output_hidden_states=True).hidden_states
        parts = []
        for layer in layers:
            one = states[layer][0].numpy()
            parts.append(
                {"mean": one.mean(axis=0), "first": one[0], "max": one.max(axis=0)}[pooling]
            )
        pooled.append(np.concatenate(parts))
    return np.stack(pooled)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_embeddings_are_those_of_transformers(
    kind: str, pooling: str, request: pytest.FixtureRequest
) -> None:
    model: Tiny = request.getfixturevalue(kind)
    graph = model.graph(pooling)
    for lengths in LENGTHS:
        rows = rows_of(lengths, seed=len(lengths))
        expected = by_transformers(model.reference, rows, pooling, [-1])
        for length in {max(lengths), min(40, max(lengths) + 5), 40}:
            np.testing.assert_allclose(by_graph(graph, rows, length), expected, atol=1e-5)


@pytest.mark.parametrize("buckets", [4, 8, 32, 64])
def test_distances_fall_into_the_buckets_of_transformers(buckets: int) -> None:
    distances = torch.arange(-599, 600)
    expected = MPNetEncoder.relative_position_bucket(distances, num_buckets=buckets)
    assert np.array_equal(distance_buckets(600, buckets), expected.numpy())


@pytest.mark.parametrize("layers", [(0,), (1, 0), (-1, -2, -3), (2, -1, 0, 0)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_layers_are_concatenated_in_order(bert: Tiny, pooling: str, layers: list[int]) -> None:
    rows = rows_of([4, 20, 11])
    output = by_graph(bert.graph(pooling, layers), rows, 22)
    assert output.shape == (3, HIDDEN * len(layers))
    expected = by_transformers(bert.reference, rows, pooling, layers)
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_activations(tmp_path: Path, activation: str) -> None:
    # Wide weights, so that the two kinds of GELU differ by more than the tolerance.
    model = tiny(write_bert(tmp_path, hidden_act=activation, initializer_range=1.0))
    rows = rows_of([7, 12])
    expected = by_transformers(model.reference, rows, "mean", [1, 2])
    output = by_graph(model.graph("mean", [1, 2]), rows, 12)
    np.testing.assert_allclose(output, expected, atol=2e-5)
    other = "gelu" if activation != "gelu" else "gelu_new"
    different = build_graph(model.config | {"hidden_act": other}, model.weights, "mean", [1, 2])
    assert np.abs(by_graph(different, rows, 12) - expected).max() > 1e-4


def test_what_stands_in_the_padding_does_not_matter(bert: Tiny) -> None:
    rows = rows_of([3, 18])
    graph = bert.graph()
    assert np.array_equal(by_graph(graph, rows, 20, pad_id=1), by_graph(graph, rows, 20, pad_id=63))


def test_a_text_has_the_same_embedding_at_any_width_and_in_any_batch(bert: Tiny) -> None:
    graph = bert.graph("mean", [-1, -2])
    rows = rows_of([9, 30, 17])
    together = by_graph(graph, rows, 30)
    for place, row in enumerate(rows):
        for length in (len(row), 31, 40):
            alone = by_graph(graph, [row], length)[0]
            np.testing.assert_allclose(alone, together[place], atol=2e-6)


@pytest.mark.parametrize("prefix", ["bert.", "encoder.model."])
def test_weights_may_have_a_prefix(bert: Tiny, prefix: str) -> None:
    named = {prefix + name: tensor for name, tensor in bert.weights.items()}
    rows = rows_of([6])
    prefixed = by_graph(build_graph(bert.config, named, "mean", [-1]), rows, 6)
    assert np.array_equal(prefixed, by_graph(bert.graph(), rows, 6))


def test_half_precision_weights_are_read(bert: Tiny) -> None:
    halves = {name: tensor.astype(np.float16) for name, tensor in bert.weights.items()}
    rows = rows_of([6])
    output = by_graph(build_graph(bert.config, halves, "mean", [-1]), rows, 6)
    np.testing.assert_allclose(output, by_graph(bert.graph(), rows, 6), atol=0.02)


BAD_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "distilbert"}, "knows bert, .*, not 'distilbert'"),
    ({"model_type": None}, "not None"),
    ({"hidden_act": "relu"}, "unknown activation 'relu'"),
    ({"position_embedding_type": "relative_key"}, "absolute positions"),
    ({"num_hidden_layers": "many"}, "bad configuration"),
    ({"hidden_size": None}, "bad configuration"),
    ({"num_hidden_layers": 3}, "lacks encoder.layer.2"),
    ({"hidden_size": 64}, "has shape"),
    ({"num_attention_heads": 5}, "head|configuration"),
    ({"num_attention_heads": 0}, "head|configuration"),
    ({"model_type": "mpnet"}, "bad configuration"),
    ({"model_type": "mpnet", "relative_attention_num_buckets": 3}, "under 4 buckets"),
    ({"model_type": "mpnet", "relative_attention_num_buckets": 32}, "lacks encoder.relative"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_CONFIGS, ids=str)
def test_a_configuration_that_does_not_fit(
    bert: Tiny, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        build_graph(bert.config | fields, bert.weights, "mean", [-1])


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "num_attention_heads"])
def test_a_configuration_that_lacks_a_field(bert: Tiny, field: str) -> None:
    config = {name: value for name, value in bert.config.items() if name != field}
    with pytest.raises(ArtifactError, match=field):
        build_graph(config, bert.weights, "mean", [-1])


def test_every_weight_is_needed(bert: Tiny) -> None:
    for name in bert.weights:
        others = {other: tensor for other, tensor in bert.weights.items() if other != name}
        with pytest.raises(ArtifactError, match=r"lacks|0 tensors named"):
            build_graph(bert.config, others, "mean", [-1])


def test_fewer_positions_than_the_configuration_says(bert: Tiny) -> None:
    name = "embeddings.position_embeddings.weight"
    with pytest.raises(ArtifactError):
        build_graph(bert.config, bert.weights | {name: bert.weights[name][:-1]}, "mean", [-1])


def test_every_weight_has_its_shape(bert: Tiny) -> None:
    for name, tensor in bert.weights.items():
        for wrong in (tensor[..., :-1], tensor[None]):
            with pytest.raises(ArtifactError, match="has shape"):
                build_graph(bert.config, bert.weights | {name: wrong}, "mean", [-1])


@pytest.mark.parametrize("layers", [[3], [-4], [0, 7]])
def test_a_layer_that_is_not_there(bert: Tiny, layers: list[int]) -> None:
    with pytest.raises(ArtifactError, match="3 hidden states"):
        bert.graph("mean", layers)


def test_an_unknown_pooling(bert: Tiny) -> None:
    with pytest.raises(ArtifactError, match="known: mean, first, max"):
        bert.graph("last")


def test_two_models_in_one_file(bert: Tiny) -> None:
    twice = bert.weights | {f"other.{name}": tensor for name, tensor in bert.weights.items()}
    with pytest.raises(ArtifactError, match="2 tensors named"):
        build_graph(bert.config, twice, "mean", [-1])
