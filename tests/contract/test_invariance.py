"""A cached code depends neither on its batch-mates nor on padding, in any CPU profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.settings import DEFAULT_ENCODER
from benchmarks.invariance import flipped_bits, token_rows
from models.loading import load_encoder
from models.profiles import this_machine

MOST_FLIPPED = 1e-6  # of the bits, and 0 is what has been measured


@pytest.mark.timeout(1200)  # minutes of two cores, by intention
@pytest.mark.parametrize(
    ("backend", "dtype", "texts"),
    [
        ("openvino", "int8", 2_000),
        ("openvino", "bf16", 400),
        ("openvino", "fp32", 400),
        ("torch", "bf16", 400),
    ],
)
def test_codes_are_the_same_alone_and_in_any_batch(backend: str, dtype: str, texts: int) -> None:
    machine = this_machine()
    if dtype == "bf16" and not machine.bf16:
        pytest.skip("this processor does not multiply bf16")
    encoder = load_encoder(DEFAULT_ENCODER, backend=backend, device="cpu", dtype=dtype, threads=2)
    rows = token_rows(encoder.info.max_tokens, texts)
    flipped, bits, batches = flipped_bits(encoder, rows)
    print(
        f"{encoder.info.profile}: {flipped} of {bits:,} bits flipped ({flipped / bits:.1e}) over "
        f"{len(rows)} texts, alone against {batches} batches of 2 to 64"
    )
    assert flipped / bits <= MOST_FLIPPED


def test_the_shipped_codes_are_balanced(encoder: Any) -> None:
    """Guards the thresholds: each bit is set about half of the time on ordinary words."""
    rows = [row for row in token_rows(encoder.info.max_tokens, 3000) if len(row) <= 16][:300]
    codes = encoder.forward(rows, 16).codes
    assert 0.35 < np.unpackbits(codes).mean() < 0.65
