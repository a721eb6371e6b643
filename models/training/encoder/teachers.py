"""Encoders to learn from: backbones as they come, or encoder artifacts in their fastest profile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from models.artifact import MANIFEST
from models.bulk import embed_texts
from models.codes import Floats
from models.loading import load_encoder
from models.training.encoder.embedder import Embedder, untrained
from models.training.encoder.kept import kept

Teacher = Callable[[Sequence[str]], Floats]


def open_teacher(named: str, cache: Path, max_tokens: int, threads: int = 2) -> Teacher:
    """What embeds texts as an encoder does, and keeps that on disk.

    Args:
        named: a backbone and its layers (see `parse_backbone`), or the folder of an artifact, which
            a CPU embeds by int8 several times as fast.
        cache: folder of what was embedded before.
        max_tokens: longer texts are cut.
        threads: of an artifact's encoder, on a CPU.

    Raises:
        ArtifactError: there is no such encoder.
    """
    if not (Path(named) / MANIFEST).is_file():
        return Embedder(untrained(named), cache, max_tokens)
    encoder = load_encoder(named, max_tokens=max_tokens, threads=threads)
    maker = hashlib.sha256(f"{max_tokens} {encoder.info.fingerprint}".encode()).digest()
    return partial(kept, cache, maker, make=partial(embed_texts, encoder))
