"""What the service asks of an encoder, in this process or another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.cache.keys import StoredCode
from models.encoder import EncoderInfo


@dataclass(frozen=True, slots=True)
class Origin:
    """For whom texts are encoded, and until when that is of use to them.

    Attributes:
        client: whose turn in the queue the texts take; a pseudonym, empty for the service's own
            work.
        deadline: on the event loop's clock.
        trace: the header `traceparent` of the request behind it, if it is traced.
    """

    client: str = ""
    deadline: float = math.inf
    trace: str = ""


OWN_WORK = Origin()


@dataclass(slots=True)
class EncodeTiming:
    """Where the time of one request's misses went, in seconds."""

    tokenization: float = 0.0
    queue: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """Codes in the order of the texts.

    `encoded` counts the passes made for this call: texts that another call already had in flight
    are not counted again.
    """

    codes: list[StoredCode]
    embeddings: list[NDArray[np.float32]] | None
    encoded: int
    timing: EncodeTiming


@dataclass(frozen=True, slots=True)
class EncoderState:
    """How one of several encoder processes is.

    Attributes:
        label: `host:port`.
        state: `up`, or what is wrong with it.
        outstanding: tokens (estimated) that it was sent and has not answered.
    """

    label: str
    state: str
    outstanding: int


class EncoderChanged(Exception):
    """The encoder answered with another fingerprint than was expected."""


class TextEncoder(Protocol):
    """Texts to codes: in this process (`Batcher`) or others (`RemoteEncoders`).

    Raises (both methods): EncoderUnavailable, and `encode` Overloaded, EncoderChanged or, where
    the deadline is another process's to keep, DeadlineExceeded.
    """

    async def info(self) -> EncoderInfo: ...
    def is_up(self) -> bool: ...
    def states(self) -> list[EncoderState]:
        """Of encoder processes; none where the encoder is in this one."""
        ...

    async def encode(
        self,
        texts: Sequence[str],
        digests: Sequence[bytes],
        *,
        embeddings: bool = False,
        origin: Origin = OWN_WORK,
    ) -> EncodeResult: ...
    async def close(self) -> None: ...
