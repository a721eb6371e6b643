"""Encoding many texts in one process, outside the service: packed by length, on all workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes, pack_bits
from models.encoder import EncodedBatch, Encoder, pool_windows
from models.packing import partition

TOKENIZE_AT_ONCE = 4096


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> Codes:
    """Codes of texts, `(n, bits // 8)` uint8, in their order."""
    codes = np.zeros((len(texts), encoder.info.bits // 8), dtype=np.uint8)
    for rows, batch, _ in _encoded(encoder, texts, embeddings=False):
        codes[rows] = batch
    return codes


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Centred float embeddings, `(n, bits)` float32, in the texts' order."""
    floats = np.zeros((len(texts), encoder.info.bits), dtype=np.float32)
    for rows, _, embeddings in _encoded(encoder, texts, embeddings=True):
        assert embeddings is not None
        floats[rows] = embeddings
    return floats


def _encoded(
    encoder: Encoder, texts: Sequence[str], embeddings: bool
) -> Iterator[tuple[list[int], Codes, NDArray[np.float32] | None]]:
    """Chunk by chunk: row numbers of texts, their codes and, where asked for, embeddings."""
    with ThreadPoolExecutor(encoder.batching.workers) as workers:
        for start in range(0, len(texts), TOKENIZE_AT_ONCE):
            chunk = texts[start : start + TOKENIZE_AT_ONCE]
            yield from _encoded_chunk(encoder, chunk, start, embeddings, workers)


def _encoded_chunk(
    encoder: Encoder,
    texts: Sequence[str],
    offset: int,
    embeddings: bool,
    workers: ThreadPoolExecutor,
) -> Iterator[tuple[list[int], Codes, NDArray[np.float32] | None]]:
    tokens = encoder.tokenize(texts)
    pieces = [
        (text, window) for text, one in enumerate(tokens) for window in range(len(one.windows))
    ]
    several = {text for text, one in enumerate(tokens) if len(one.windows) > 1}
    rows = [tokens[text].windows[window] for text, window in pieces]

    def forward(batch: tuple[list[int], int]) -> tuple[list[int], EncodedBatch]:
        chosen, width = batch
        floats = embeddings or any(pieces[i][0] in several for i in chosen)
        return chosen, encoder.forward([rows[i] for i in chosen], width, floats)

    of_windows: dict[int, dict[int, NDArray[np.float32]]] = {text: {} for text in several}
    batches = partition([len(row) for row in rows], encoder.batching)
    for chosen, done in workers.map(forward, batches):
        whole = []
        for row, piece in enumerate(chosen):
            text, window = pieces[piece]
            if text in several:
                assert done.embeddings is not None
                of_windows[text][window] = done.embeddings[row]
            else:
                whole.append(row)
        numbers = [offset + pieces[chosen[row]][0] for row in whole]
        floats = done.embeddings[whole] if embeddings and done.embeddings is not None else None
        yield numbers, done.codes[whole], floats
    for text, parts in of_windows.items():
        lengths = [len(window) for window in tokens[text].windows]
        pooled = pool_windows([parts[window] for window in range(len(lengths))], lengths)[None]
        yield [offset + text], pack_bits(pooled), pooled if embeddings else None
