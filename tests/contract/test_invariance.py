"""A cached code does not depend on its batch-mates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.buckets import bucket_for
from models.codes import hamming

TEXTS = 5_000


def token_rows(encoder: Any) -> list[np.ndarray]:
    """Token rows of every length the encoder takes, short ones more often, as in real traffic."""
    random = np.random.default_rng(0)
    longest = encoder.info.max_tokens
    lengths = list(range(3, longest + 1))
    weights = 1.0 / np.array(lengths)
    lengths += random.choice(lengths, TEXTS - len(lengths), p=weights / weights.sum()).tolist()
    rows = []
    for length in lengths:
        # Ordinary vocabulary between the special tokens of a BERT tokenizer.
        inner = random.integers(1_996, 29_000, length - 2)
        rows.append(np.concatenate([[101], inner, [102]]).astype(np.int64))
    return rows


@pytest.mark.timeout(1200)  # minutes of one core, by intention
def test_codes_are_the_same_alone_and_in_any_batch(encoder: Any) -> None:
    rows = token_rows(encoder)
    buckets = encoder.info.buckets
    bucket = [bucket_for(len(row), buckets) for row in rows]
    alone = np.concatenate(
        [encoder.forward([row], length).codes for row, length in zip(rows, bucket, strict=True)]
    )
    together = np.zeros_like(alone)
    random = np.random.default_rng(1)
    sizes = np.zeros(67, dtype=int)
    for length in buckets:
        members = random.permutation(np.flatnonzero(np.array(bucket) == length))
        start = 0
        while start < len(members):
            size = int(random.integers(2, 65))
            if len(members) - start - size < 2:  # nobody is left alone
                size = len(members) - start
            chosen = members[start : start + size]
            together[chosen] = encoder.forward([rows[i] for i in chosen], length).codes
            sizes[len(chosen)] += 1
            start += size
    flipped = int(hamming(alone, together).sum())
    bits = alone.size * 8
    print(
        f"{encoder.info.profile}: {flipped} of {bits:,} bits flipped ({flipped / bits:.1e}) over "
        f"{len(rows)} texts, alone against {sizes.sum()} batches of 2 to 64"
    )
    assert flipped / bits <= 1e-6


def test_the_shipped_codes_are_balanced(encoder: Any) -> None:
    """Guards the thresholds: each bit is set about half of the time on ordinary words."""
    rows = [row for row in token_rows(encoder) if len(row) <= 16][:300]
    codes = encoder.forward(rows, 16).codes
    assert 0.35 < np.unpackbits(codes).mean() < 0.65
