"""What every encoder backend is: text to code on one device. numpy only.

The backends are `models.openvino.encoder` (CPU, without torch) and `models.torch_encoder` (GPU, or
CPU, any Hugging Face encoder). `models.loading` chooses between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.packing import BatchRule
from models.tokens import Ids, Tokens


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """What one forward pass gives.

    Attributes:
        codes: `(b, bits // 8)` uint8.
        embeddings: `(b, bits)` float32, centred (their signs are the bits), when asked for.
    """

    codes: Codes
    embeddings: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What identifies an encoder. `fingerprint` is the digest of all that decides a code."""

    name: str
    fingerprint: str
    bits: int
    max_tokens: int
    device: str
    profile: str

    @property
    def code_bytes(self) -> int:
        """Width of a code in bytes."""
        return self.bits // 8


class Encoder(Protocol):
    """Text to code.

    `tokenize` may be called from any thread; `forward` by `batching.workers` threads at a time.
    """

    info: EncoderInfo
    batching: BatchRule

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of texts, special tokens and prompt included, within the limit."""

    def forward(self, rows: Sequence[Ids], width: int, embeddings: bool = False) -> EncodedBatch:
        """One pass.

        Args:
            rows: windows of token ids, each at most `width` long.
            width: of a row that holds the longest: `batching.width` of its length.
            embeddings: also return the float embeddings.

        Returns:
            Codes (and embeddings) in the order of `rows`.

        Raises:
            ValueError: a row is longer than `width`.
        """

    def warm_up(self) -> None:
        """Meet the usual shapes before traffic does."""


def pool_windows(
    embeddings: Sequence[NDArray[np.float32]], lengths: Sequence[int]
) -> NDArray[np.float32]:
    """One embedding of a text that was encoded in windows: their mean, weighted by tokens.

    Args:
        embeddings: `(bits,)` centred, one a window.
        lengths: tokens of each window.

    Returns:
        `(bits,)` float32, centred: its signs are the text's bits.
    """
    weights = np.asarray(lengths, dtype=np.float64)
    pooled = np.average(np.stack(embeddings).astype(np.float64), axis=0, weights=weights)
    return pooled.astype(np.float32)
