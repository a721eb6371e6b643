"""What the untrained encoder makes of the training texts: computed once, kept on disk.

Many tasks pull a backbone towards their own questions. A regression from the bits to these
embeddings keeps readable what it knew before (`Plan.keep`), and that is what unseen tasks read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bulk import embed_texts
from models.loading import load_encoder

Embeddings = NDArray[np.float16]


def teach(texts: Sequence[str], encoder: str, max_tokens: int, cache: Path) -> Embeddings:
    """`(n, width)` float16 embeddings of texts by an encoder as it is served on this machine.

    Args:
        texts: of one task.
        encoder: artifact folder, path or name.
        max_tokens: longer texts are cut.
        cache: folder of what was made before.
    """
    digest = hashlib.sha256(f"{encoder}\0{max_tokens}".encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    path = cache / f"teacher-{digest.hexdigest()[:32]}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        loaded = load_encoder(encoder, threads=2, max_tokens=max_tokens)
        np.save(path, embed_texts(loaded, texts).astype(np.float16))
    embeddings: Embeddings = np.load(path, mmap_mode="r")
    return embeddings
