"""Texts to token ids, by `tokenizers`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from models.artifact import ArtifactError
from models.tokens import Tokens

LongTexts = Literal["cut", "windows"]
MAX_WINDOWS = 16
WINDOW_OVERLAP = 32  # tokens that neighbours share, so that no phrase is only seen cut


class TextTokenizer:
    """A tokenizer with the encoder's limit and prompt. May be called from any thread.

    Args:
        file: a `tokenizer.json`.
        max_tokens: of one window, special tokens included.
        prompt: put before every text.
        long_texts: `cut` them at the limit, or encode up to `MAX_WINDOWS` overlapping `windows`.

    Raises:
        ArtifactError: the file is none.
    """

    def __init__(
        self, file: Path, max_tokens: int, prompt: str = "", long_texts: LongTexts = "cut"
    ) -> None:
        # One tokenizing thread a call; the cores belong to the backbone.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises Exception itself
            raise ArtifactError(f"cannot read {file.name}: {error}") from error
        self._windows = MAX_WINDOWS if long_texts == "windows" else 1
        overlap = min(WINDOW_OVERLAP, max_tokens // 4) if self._windows > 1 else 0
        self._tokenizer.enable_truncation(max_tokens, stride=overlap)
        self._tokenizer.no_padding()
        self._prompt = prompt

    def __call__(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of texts."""
        if self._prompt:
            texts = [self._prompt + text for text in texts]
        done = []
        for encoding in self._tokenizer.encode_batch_fast(list(texts)):
            more = encoding.overflowing
            windows = [encoding, *more[: self._windows - 1]] if more else [encoding]
            ids = tuple(np.array(window.ids, dtype=np.int32) for window in windows)
            done.append(Tokens(ids, truncated=len(more) >= self._windows))
        return done
