"""Embeddings kept on disk by what made them and of which texts: they cost minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from models.codes import Floats


def kept(
    folder: Path, maker: bytes, texts: Sequence[str], make: Callable[[Sequence[str]], Floats]
) -> Floats:
    """Embeddings of texts: those in the folder, or made now and put there.

    Args:
        folder: of what was made before.
        maker: tells apart whose embeddings they are.
        texts: in order.
        make: embeds them.

    Returns:
        `(n, width)` float32.
    """
    key = hashlib.sha256(maker)
    for text in texts:
        key.update(b"\0" + text.encode())
    path = folder / f"embeddings-{key.hexdigest()[:32]}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Under another name first: what is cut off halfway is not taken for whole.
        temporary = path.with_suffix(".part.npy")
        np.save(temporary, make(texts))
        temporary.replace(path)
    return np.asarray(np.load(path), dtype=np.float32)
