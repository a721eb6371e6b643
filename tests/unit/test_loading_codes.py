"""models.loading: the codes and the fingerprints of what it loads, with a tiny BERT."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.artifact import ArtifactError
from models.bulk import embed_texts, encode_texts
from models.codes import hamming, pack_bits
from models.encoder import Encoder, pool_windows
from models.loading import load_encoder
from models.source import TRAINED_WEIGHTS
from tests.unit.tiny import change_config, weights_of, words, write_bert

TEXTS = [words(n, start=3 * n) for n in range(30)]
BITS = 32
FP32: dict[str, Any] = {"device": "cpu", "dtype": "fp32"}
BACKENDS = pytest.mark.parametrize("backend", ["torch", "openvino"])
Artifact = Callable[..., Path]


def windows_by_hand(encoder: Encoder, text: str) -> np.ndarray:
    """Each window alone by `forward`, then pooled."""
    [tokens] = encoder.tokenize([text])
    parts, lengths = [], []
    for window in tokens.windows:
        batch = encoder.forward([window], encoder.batching.padded(len(window)), embeddings=True)
        assert batch.embeddings is not None
        parts.append(batch.embeddings[0])
        lengths.append(len(window))
    assert len(parts) > 1
    return pool_windows(parts, lengths)


def test_both_backends_agree(tiny_bert: Path) -> None:
    by_torch = load_encoder(str(tiny_bert), backend="torch", **FP32)
    by_openvino = load_encoder(str(tiny_bert), backend="openvino", **FP32)
    assert (by_torch.info.profile, by_openvino.info.profile) == (
        "torch-cpu-fp32",
        "openvino-cpu-fp32",
    )
    for encoder in (by_torch, by_openvino):
        assert (encoder.info.name, encoder.info.bits, encoder.info.max_tokens) == (
            "tiny",
            BITS,
            128,
        )
        encoder.warm_up()
    flipped = hamming(encode_texts(by_torch, TEXTS), encode_texts(by_openvino, TEXTS)).sum()
    assert flipped <= 0.01 * BITS * len(TEXTS)
    floats = [embed_texts(encoder, TEXTS) for encoder in (by_torch, by_openvino)]
    np.testing.assert_allclose(*floats, atol=1e-5)


@BACKENDS
def test_thresholds_decide_the_bits(tiny_artifact: Artifact, tiny_bert: Path, backend: str) -> None:
    plain = load_encoder(str(tiny_artifact()), backend=backend, **FP32)
    raw = embed_texts(plain, TEXTS)
    thresholds = np.median(raw, axis=0).astype(np.float32)
    centred = load_encoder(str(tiny_artifact(thresholds)), backend=backend, **FP32)
    assert np.array_equal(encode_texts(plain, TEXTS), pack_bits(raw))
    assert np.array_equal(encode_texts(centred, TEXTS), pack_bits(raw - thresholds))
    assert plain.info.fingerprint != centred.info.fingerprint


def write_trained(folder: Path, backbone: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Other weights for all but the word table, as float16; what they are in float32."""
    chance = np.random.default_rng(seed)
    tensors = {
        name: (value + chance.normal(size=value.shape) * 0.05).astype(np.float16)
        for name, value in weights_of(backbone).items()
        if not name.startswith("embeddings.")
    }
    save_file(tensors, folder / TRAINED_WEIGHTS)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


@BACKENDS
def test_trained_weights_are_those_of_a_backbone_with_them(
    tiny_artifact: Artifact, tiny_bert: Path, tmp_path: Path, backend: str
) -> None:
    folder = tiny_artifact()
    before = load_encoder(str(folder), backend=backend, **FP32)
    trained = write_trained(folder, tiny_bert)
    whole = tmp_path / "whole"
    shutil.copytree(tiny_bert, whole)
    save_file(weights_of(tiny_bert) | trained, whole / "model.safetensors")
    expected = load_encoder(str(whole), backend=backend, max_tokens=64, **FP32)
    after = load_encoder(str(folder), backend=backend, **FP32)
    assert np.array_equal(embed_texts(after, TEXTS), embed_texts(expected, TEXTS))
    assert hamming(encode_texts(after, TEXTS), encode_texts(before, TEXTS)).sum() > 0


@BACKENDS
def test_trained_weights_change_the_fingerprint(
    tiny_artifact: Artifact, tiny_bert: Path, backend: str
) -> None:
    folder = tiny_artifact()
    prints = {load_encoder(str(folder), backend=backend, **FP32).info.fingerprint}
    for seed in (0, 1):
        write_trained(folder, tiny_bert, seed)
        prints.add(load_encoder(str(folder), backend=backend, **FP32).info.fingerprint)
    assert len(prints) == 3


@BACKENDS
@pytest.mark.parametrize("fault", ["shape", "name"])
def test_trained_weights_that_do_not_fit(
    tiny_artifact: Artifact, tiny_bert: Path, backend: str, fault: str
) -> None:
    folder = tiny_artifact()
    name = "encoder.layer.0.output.dense.bias"
    tensor = np.zeros(BITS, dtype=np.float16)
    tensors = {name: tensor[:-1]} if fault == "shape" else {"encoder.layer.9.bias": tensor}
    save_file(tensors, folder / TRAINED_WEIGHTS)
    with pytest.raises(ArtifactError, match=TRAINED_WEIGHTS):
        load_encoder(str(folder), backend=backend, **FP32)


class TestWindows:
    @BACKENDS
    def test_a_long_text_gets_the_code_of_its_pooled_windows(
        self, tiny_bert: Path, backend: str
    ) -> None:
        encoder = load_encoder(
            str(tiny_bert), backend=backend, max_tokens=20, long_texts="windows", **FP32
        )
        texts = [words(70), words(5), words(41, start=9)]
        pooled = [windows_by_hand(encoder, texts[0]), windows_by_hand(encoder, texts[2])]
        codes = encode_texts(encoder, texts)
        assert np.array_equal(codes[[0, 2]], pack_bits(np.stack(pooled)))
        np.testing.assert_allclose(embed_texts(encoder, texts)[[0, 2]], pooled, atol=1e-6)

    def test_windows_say_more_than_a_cut(self, tiny_bert: Path) -> None:
        fields: dict[str, Any] = {"backend": "openvino", "max_tokens": 20, **FP32}
        cut = load_encoder(str(tiny_bert), **fields)
        windows = load_encoder(str(tiny_bert), long_texts="windows", **fields)
        texts = [words(18), words(60), words(18) + " " + words(40, start=5)]
        a, b = encode_texts(cut, texts), encode_texts(windows, texts)
        assert np.array_equal(a[0], b[0])
        assert not np.array_equal(a[1], b[1])
        assert np.array_equal(a[1], a[2])  # alike up to the cut
        assert not np.array_equal(b[1], b[2])

    def test_the_manifest_may_ask_for_windows_and_the_caller_for_a_cut(
        self, tiny_artifact: Artifact
    ) -> None:
        folder = str(tiny_artifact(long_texts="windows", max_tokens=20))

        def parts(**fields: Any) -> int:
            encoder = load_encoder(folder, backend="openvino", **FP32, **fields)
            return len(encoder.tokenize([words(60)])[0].windows)

        assert parts() > 1
        assert parts(long_texts="windows") == parts()
        assert parts(long_texts="cut") == 1


class TestFingerprints:
    def test_they_differ_by_whatever_decides_a_code(self, tiny_bert: Path) -> None:
        def of(backend: str = "openvino", dtype: str = "fp32", **fields: Any) -> str:
            encoder = load_encoder(
                str(tiny_bert), backend=backend, dtype=dtype, device="cpu", **fields
            )
            return encoder.info.fingerprint

        prints = [
            of(),
            of(dtype="bf16"),
            of(backend="torch"),
            of(backend="torch", dtype="bf16"),
            of(max_tokens=20),
            of(max_tokens=21),
            of(max_tokens=20, long_texts="windows"),
            of(long_texts="windows"),
        ]
        assert len(set(prints)) == len(prints)
        assert of() == of(threads=2) == of(long_texts="cut") == of(max_tokens=128) == prints[0]

    @BACKENDS
    def test_they_differ_by_tokenizer_weights_and_configuration(
        self, tmp_path: Path, backend: str
    ) -> None:
        def of() -> str:
            return load_encoder(str(folder), backend=backend, **FP32).info.fingerprint

        folder = write_bert(tmp_path)
        prints = [of()]
        text = (folder / "tokenizer.json").read_text()
        (folder / "tokenizer.json").write_text(text.replace('"w7"', '"other"'))
        prints.append(of())
        change_config(folder, layer_norm_eps=1e-3)
        prints.append(of())
        weights = weights_of(folder)
        weights["embeddings.LayerNorm.bias"][0] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        prints.append(of())
        assert len(set(prints)) == len(prints)

    def test_the_folder_of_the_backbone_is_not_in_it(self, tmp_path: Path) -> None:
        a, b = (
            load_encoder(str(write_bert(tmp_path / name)), backend="openvino", **FP32)
            for name in ("a", "b")
        )
        assert a.info.fingerprint == b.info.fingerprint
