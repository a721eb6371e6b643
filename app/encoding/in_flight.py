"""What is between admission and answer: calls, the texts they wait for, and those texts' pieces."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.cache.keys import StoredCode
from models.codes import pack_bits
from models.encoder import pool_windows
from models.tokens import Ids, Tokens

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a text became, and how long that took."""

    stored: StoredCode
    embedding: Floats | None
    queue_s: float
    inference_s: float


@dataclass(eq=False, slots=True)
class Call:
    """One caller: `done` when `missing` is down to zero, or at the first failure."""

    done: asyncio.Future[None]
    missing: int = 0

    def one_done(self) -> None:
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # seen, even if the caller has left


@dataclass(eq=False, slots=True)
class Entry:
    """One text in flight, wanted by `calls` (one of them twice when it holds the text twice).

    `client` is who asked first: it takes that client's turn, and its permit.
    """

    key: tuple[bytes, bool]
    client: str = ""
    calls: list[Call] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    tokens: int = 0
    truncated: bool = False
    queued_at: float = 0.0
    parts: dict[int, Floats] = field(default_factory=dict)
    result: Encoded | None = None
    ended: bool = False

    def split(self, tokens: Tokens, now: float) -> list[Piece]:
        """The pieces to queue: one a window."""
        self.tokens, self.truncated, self.queued_at = len(tokens), tokens.truncated, now
        self.pieces = [Piece(self, number, ids) for number, ids in enumerate(tokens.windows)]
        return self.pieces

    def collect(
        self, piece: Piece, code: NDArray[np.uint8], embedding: Floats | None
    ) -> tuple[NDArray[np.uint8], Floats | None] | None:
        """Code and embedding of the text once this was its last piece, else None."""
        if len(self.pieces) == 1:
            return code, embedding
        assert embedding is not None
        self.parts[piece.number] = embedding
        if len(self.parts) < len(self.pieces):
            return None
        lengths = [len(one.ids) for one in self.pieces]
        pooled = pool_windows([self.parts[n] for n in range(len(lengths))], lengths)
        return pack_bits(pooled[None])[0], pooled


@dataclass(eq=False, slots=True)
class Piece:
    """One window of a text: what a batch is made of."""

    entry: Entry
    number: int
    ids: Ids

    @property
    def wants_embedding(self) -> bool:
        return self.entry.key[1] or len(self.entry.pieces) > 1
