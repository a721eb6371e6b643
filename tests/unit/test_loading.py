"""models.loading: from a folder to an encoder, with a tiny BERT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModel

from app.settings import DEFAULT_ENCODER
from models.artifact import ArtifactError, EncoderManifest
from models.bulk import embed_texts, encode_texts
from models.loading import load_encoder, offers_of
from models.profiles import Machine, Offer
from models.source import (
    GATE,
    QUANTIZER_WEIGHTS,
    STORED,
    check_limit,
    gate_of,
    open_source,
    position_limit,
    thresholds_in,
)
from models.tokenization import TextTokenizer
from tests.unit.tiny import (
    change_config,
    weights_of,
    words,
    write_bert,
    write_mpnet,
    write_roberta,
)

TEXTS = [words(n, start=3 * n) for n in range(30)]
BITS = 32
FP32: dict[str, Any] = {"device": "cpu", "dtype": "fp32"}
SERVER = Machine(torch=True, openvino=True, cuda=False, bf16=True, int8=True)
BACKENDS = pytest.mark.parametrize("backend", ["torch", "openvino"])
Artifact = Callable[..., Path]


@BACKENDS
@pytest.mark.parametrize("width", [BITS - 8, BITS + 8])
def test_thresholds_of_another_width(tiny_artifact: Artifact, backend: str, width: int) -> None:
    folder = tiny_artifact(np.zeros(width, dtype=np.float32))
    with pytest.raises(ArtifactError, match=f"{width}.*{BITS}|{BITS}.*{width}"):
        load_encoder(str(folder), backend=backend, **FP32)


@pytest.mark.parametrize(
    "thresholds",
    [[0.0, np.nan], [np.inf, 0.0], [-np.inf, 0.0], [[0.0], [1.0]], 0.5],
    ids=["nan", "inf", "-inf", "a column", "a scalar"],
)
def test_thresholds_that_are_none(tiny_artifact: Artifact, thresholds: Any) -> None:
    folder = tiny_artifact(np.asarray(thresholds, dtype=np.float32))
    with pytest.raises(ArtifactError, match="finite `thresholds`"):
        thresholds_in(folder)


def test_a_thresholds_file_that_is_damaged(tiny_artifact: Artifact) -> None:
    folder = tiny_artifact(np.zeros(BITS, dtype=np.float32))
    file = folder / QUANTIZER_WEIGHTS
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="damaged"):
        load_encoder(str(folder), backend="openvino", **FP32)
    save_file({"other": np.zeros(BITS, dtype=np.float32)}, file)
    with pytest.raises(ArtifactError, match="finite `thresholds`"):
        thresholds_in(folder)


def test_no_thresholds_are_plain_signs(tiny_artifact: Artifact) -> None:
    assert thresholds_in(None) is None
    assert thresholds_in(tiny_artifact()) is None
    read = thresholds_in(tiny_artifact(np.arange(BITS, dtype=np.float64)))
    assert read is not None
    assert (read.dtype, read.tolist()) == (np.float32, list(range(BITS)))


def write_gate(folder: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / GATE).write_text(text)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        [],
        {},
        {"profiles": []},
        {"profiles": 1},
        {"profiles": {"p": 0.1}},
        {"profiles": {"p": {}}},
        {"profiles": {"p": {"accuracy_change": "much"}}},
        {"profiles": {"p": {"accuracy_change": None}}},
    ],
    ids=str,
)
def test_a_damaged_gate(tiny_artifact: Artifact, content: object) -> None:
    folder = write_gate(tiny_artifact(), content)
    with pytest.raises(ArtifactError, match=f"{GATE} of {folder.name} is damaged"):
        load_encoder(str(folder), backend="openvino", **FP32)


def test_the_gate_is_read_and_obeyed(tiny_artifact: Artifact) -> None:
    folder = tiny_artifact()
    assert gate_of(folder) == gate_of(None) == {}
    measured = {"openvino-cpu-bf16": -0.02, "torch-cpu-bf16": 0.001}
    write_gate(folder, {"profiles": {n: {"accuracy_change": v} for n, v in measured.items()}})
    assert gate_of(folder) == measured
    offers = offers_of(open_source(str(folder)))
    assert offers["openvino-cpu-bf16"] == Offer(-0.02)
    assert offers["torch-cpu-fp32"] == Offer(None)
    encoder = load_encoder(str(folder), device="cpu", machine=SERVER)
    assert encoder.info.profile == "torch-cpu-bf16"
    named = load_encoder(str(folder), backend="openvino", dtype="bf16", device="cpu")
    assert named.info.profile == "openvino-cpu-bf16"


def test_without_a_quantized_model_no_int8_is_offered(
    tiny_artifact: Artifact, tiny_bert: Path
) -> None:
    for source in (str(tiny_artifact()), str(tiny_bert)):
        offers = offers_of(open_source(source))
        assert "openvino-cpu-int8" not in offers
        assert {"openvino-cpu-bf16", "openvino-cpu-fp32", "torch-cpu-fp32"} <= offers.keys()
        encoder = load_encoder(source, device="cpu", machine=SERVER)
        assert encoder.info.profile == "openvino-cpu-bf16"
        with pytest.raises(ArtifactError, match="dtype=int8"):
            load_encoder(source, backend="openvino", dtype="int8")
    assert "openvino-cpu-int8" in offers_of(open_source(DEFAULT_ENCODER))


def test_a_quantized_model_needs_all_its_files(tiny_artifact: Artifact) -> None:
    folder = tiny_artifact()
    stored = folder / STORED
    stored.mkdir()
    (stored / "model.xml").write_text("<net/>")
    int8: dict[str, Any] = {"backend": "openvino", "dtype": "int8", "device": "cpu"}
    with pytest.raises(ArtifactError, match=f"{QUANTIZER_WEIGHTS} is missing in {STORED}"):
        load_encoder(str(folder), **int8)
    save_file({"thresholds": np.zeros(BITS, dtype=np.float32)}, stored / QUANTIZER_WEIGHTS)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        load_encoder(str(folder), **int8)
    (stored / "config.json").write_text('{"max_position_embeddings": 128}')
    with pytest.raises(ArtifactError, match="lacks one of model\\.xml, model\\.bin"):
        load_encoder(str(folder), **int8)
    for name in ("model.bin", "tokenizer.json"):
        (stored / name).write_bytes(b"{}")
    with pytest.raises(ArtifactError):
        load_encoder(str(folder), **int8)


@BACKENDS
@pytest.mark.parametrize("limit", [1, 3, 129, 4096])
def test_a_limit_that_the_backbone_has_no_positions_for(
    tiny_artifact: Artifact, tiny_bert: Path, backend: str, limit: int
) -> None:
    with pytest.raises(ArtifactError, match=f"max_tokens is {limit}, the model takes 4 to 128"):
        load_encoder(str(tiny_bert), backend=backend, max_tokens=limit, **FP32)
    with pytest.raises(ArtifactError, match=f"max_tokens is {limit}"):
        load_encoder(str(tiny_artifact(max_tokens=limit)), backend=backend, **FP32)


def test_position_limits(tiny_bert: Path) -> None:
    assert position_limit({"max_position_embeddings": 40}) == 40
    for kind in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        config: dict[str, Any] = {"model_type": kind, "max_position_embeddings": 514}
        assert position_limit(config) == position_limit(config | {"pad_token_id": 1}) == 512
        assert position_limit(config | {"pad_token_id": None}) == 512
        assert position_limit(config | {"pad_token_id": 0}) == 513
    check_limit(EncoderManifest("n", "b", max_tokens=40), {"max_position_embeddings": 40})
    for fine in (4, 128):
        assert load_encoder(str(tiny_bert), backend="openvino", max_tokens=fine, **FP32)


@BACKENDS
@pytest.mark.parametrize("layers", [(9,), (-1, -4)])
def test_a_layer_that_the_backbone_does_not_have(
    tiny_artifact: Artifact, backend: str, layers: tuple[int, ...]
) -> None:
    with pytest.raises(ArtifactError):
        load_encoder(str(tiny_artifact(layers=layers)), backend=backend, **FP32)


@BACKENDS
def test_an_unknown_pooling(tiny_artifact: Artifact, backend: str) -> None:
    with pytest.raises(ArtifactError, match="unknown pooling 'last'"):
        load_encoder(str(tiny_artifact(pooling="last")), backend=backend, **FP32)


@BACKENDS
def test_a_position_limit_that_is_no_number(tmp_path: Path, backend: str) -> None:
    folder = write_bert(tmp_path)
    change_config(folder, max_position_embeddings=None)
    with pytest.raises(ArtifactError):
        load_encoder(str(folder), backend=backend, **FP32)


@pytest.mark.parametrize("write", [write_bert, write_mpnet], ids=["bert", "mpnet"])
@pytest.mark.parametrize("layers", [(-3, -2), (1,), (0,), (-1, 1)])
def test_layers_from_within_are_transformers_own(
    tmp_path: Path, write: Callable[..., Path], layers: tuple[int, ...]
) -> None:
    backbone = write(tmp_path / "backbone", num_hidden_layers=3)
    manifest = EncoderManifest("n", str(backbone), layers=layers, max_tokens=32)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest.to_json()))
    found = embed_texts(load_encoder(str(tmp_path), backend="torch", **FP32), TEXTS)
    model = AutoModel.from_pretrained(backbone, add_pooling_layer=False).eval()
    for tokens, embedding in zip(
        TextTokenizer(backbone / "tokenizer.json", 32)(TEXTS), found, strict=True
    ):
        ids = torch.from_numpy(tokens.windows[0]).long()[None]
        with torch.no_grad():
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
        expected = torch.cat([hidden[layer][0].mean(dim=0) for layer in layers])
        np.testing.assert_allclose(embedding, expected.numpy(), atol=2e-5)


def test_a_roberta_without_a_padding_id(tmp_path: Path) -> None:
    """It counts as 1, as `position_limit` has it."""
    folder = write_roberta(tmp_path)
    expected = encode_texts(load_encoder(str(folder), backend="openvino", **FP32), TEXTS)
    change_config(folder, pad_token_id=None)
    encoder = load_encoder(str(folder), backend="openvino", **FP32)
    assert np.array_equal(encode_texts(encoder, TEXTS), expected)


def test_a_weight_of_the_wrong_shape(tmp_path: Path) -> None:
    folder = write_bert(tmp_path)
    weights = weights_of(folder)
    name = "encoder.layer.0.output.dense.weight"
    weights[name] = np.ascontiguousarray(weights[name][:, :-1])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError):
        load_encoder(str(folder), backend="openvino", **FP32)


def test_what_openvino_does_not_know_falls_to_torch(tmp_path: Path) -> None:
    folder = write_bert(tmp_path, hidden_act="relu")
    encoder = load_encoder(str(folder), device="cpu", machine=SERVER)
    assert encoder.info.profile == "torch-cpu-bf16"


def test_what_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no encoder at"):
        load_encoder(str(tmp_path))
    for content in ("{", "[]", ""):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ArtifactError, match=r"config\.json"):
            load_encoder(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ArtifactError, match="expected format"):
        load_encoder(str(tmp_path))


def test_an_unknown_backend_is_named(tiny_bert: Path) -> None:
    with pytest.raises(ArtifactError, match="backend=onnx"):
        load_encoder(str(tiny_bert), backend="onnx")
