"""The encoder on a real GPU."""

from __future__ import annotations

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
