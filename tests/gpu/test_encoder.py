"""The encoder on a real GPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from app.settings import DEFAULT_ENCODER
from models.bulk import encode_texts
from models.codes import hamming
from models.encoder import Encoder
from models.loading import load_encoder

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and none is visible here"
)
TEXTS = [f"the {word} number {n}" for n in range(200) for word in ("cat", "report", "match")]


@pytest.fixture(scope="module")
def on_gpu() -> Encoder:
    encoder = load_encoder(DEFAULT_ENCODER, device="cuda")
    encoder.warm_up()
    return encoder


def test_profile_and_fingerprint_are_of_their_own(on_gpu: Encoder, encoder: Encoder) -> None:
    assert on_gpu.info.profile == "torch-cuda-bf16"
    assert on_gpu.info.fingerprint != encoder.info.fingerprint


def test_bits_agree_with_fp32_on_the_cpu(on_gpu: Encoder) -> None:
    reference = load_encoder(DEFAULT_ENCODER, device="cpu", dtype="fp32")
    flipped = hamming(encode_texts(on_gpu, TEXTS), encode_texts(reference, TEXTS)).mean()
    share = flipped / on_gpu.info.bits
    print(f"{on_gpu.info.device}: {1 - share:.4%} of the bits agree with fp32 on the CPU")
    assert share < 0.02


def test_batch_mates_change_nothing(on_gpu: Encoder) -> None:
    tokens = [row.windows[0] for row in on_gpu.tokenize(TEXTS[:256])]
    alone = np.concatenate([on_gpu.forward([ids], 16).codes for ids in tokens])
    together = on_gpu.forward(tokens, 16).codes
    share = hamming(alone, together).sum() / (alone.size * 8)
    print(f"{on_gpu.info.device}: {share:.1e} of the bits flip between alone and a batch of 256")
    assert share < 1e-3


def test_short_passes_are_replayed_from_graphs_and_give_the_same_codes(on_gpu: Any) -> None:
    assert on_gpu._graphs is not None
    assert on_gpu._graphs._captured, "nothing was captured: see the warnings in the log"
    tokens = [row.windows[0] for row in on_gpu.tokenize(TEXTS[:50])]
    replayed = on_gpu.forward(tokens, 16).codes
    graphs, on_gpu._graphs = on_gpu._graphs, None
    try:
        plain = on_gpu.forward(tokens, 16).codes
    finally:
        on_gpu._graphs = graphs
    share = hamming(replayed, plain).sum() / (plain.size * 8)
    print(f"{on_gpu.info.device}: {share:.1e} of the bits differ between replayed and plain passes")
    assert share < 1e-3


def test_two_threads_take_turns(on_gpu: Any) -> None:
    rows = [row.windows[0] for row in on_gpu.tokenize(TEXTS[:400])]
    parts = [rows[start : start + 25] for start in range(0, 400, 25)]
    expected = [on_gpu.forward(part, 16).codes for part in parts]
    with ThreadPoolExecutor(on_gpu.batching.workers) as workers:
        found = list(workers.map(lambda part: on_gpu.forward(part, 16).codes, parts))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
