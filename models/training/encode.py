"""Encoding many texts in one process, outside the service: sorted by length, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from models.buckets import bucket_for
from models.codes import Codes
from models.encoder import EncodedBatch, Encoder

BATCH_TOKENS = 2048


def _batches(
    encoder: Encoder, texts: Sequence[str], embeddings: bool
) -> Iterator[tuple[list[int], EncodedBatch]]:
    tokens = encoder.tokenize(texts)
    order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
    for length, group in groupby(order, lambda i: bucket_for(len(tokens[i]), encoder.info.buckets)):
        rows = list(group)
        step = max(1, BATCH_TOKENS // length)
        for start in range(0, len(rows), step):
            chosen = rows[start : start + step]
            yield chosen, encoder.forward([tokens[i].ids for i in chosen], length, embeddings)


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> Codes:
    """Codes of texts, `(n, bits // 8)` uint8, in their order."""
    codes = np.zeros((len(texts), encoder.info.bits // 8), dtype=np.uint8)
    for rows, batch in _batches(encoder, texts, embeddings=False):
        codes[rows] = batch.codes
    return codes


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Centred float embeddings, `(n, bits)` float32, in the texts' order."""
    floats = np.zeros((len(texts), encoder.info.bits), dtype=np.float32)
    for rows, batch in _batches(encoder, texts, embeddings=True):
        assert batch.embeddings is not None
        floats[rows] = batch.embeddings
    return floats
