"""What one encode call asks of several encoders, what it has of them, and whom it has tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from app.cache.keys import StoredCode
from app.encoding.fleet import estimate_tokens
from app.encoding.protocol import EncoderChanged, EncodeResult, EncodeTiming, Origin
from app.encoding.remote import EncoderFailed
from app.errors import ApiError, DeadlineExceeded, EncoderUnavailable, Overloaded
from models.encoder import EncoderInfo

# Encoders that may have died of the same texts, one after the other. Then it may be the texts.
MAX_SENT = 3


class Job:
    """The texts of one call, and their codes as they come.

    Args:
        texts: distinct.
        digests: of them.
        info: the encoder whose codes are wanted.
        origin: for whom.
        embeddings: floats are wanted too.
    """

    def __init__(
        self,
        texts: Sequence[str],
        digests: Sequence[bytes],
        info: EncoderInfo,
        origin: Origin,
        *,
        embeddings: bool,
    ) -> None:
        self.texts = texts
        # Under which a text is in flight; with its embedding it is another matter.
        self.names = [digest + b"f" for digest in digests] if embeddings else list(digests)
        self.tokens = [estimate_tokens(text, info.max_tokens) for text in texts]
        self.info = info
        self.origin = origin
        self.embeddings = embeddings
        self._codes: list[StoredCode | None] = [None] * len(texts)
        self._floats: list[NDArray[np.float32] | None] = [None] * len(texts)
        self._encoded = 0
        self._timing = EncodeTiming()

    def add(self, places: Sequence[int], result: EncodeResult) -> None:
        """An encoder answered for the texts at these places."""
        for place, stored in zip(places, result.codes, strict=True):
            self._codes[place] = stored
        if result.embeddings is not None:
            for place, floats in zip(places, result.embeddings, strict=True):
                self._floats[place] = floats
        self._encoded += result.encoded
        # Parts run side by side: the longest of each is what the caller waits for.
        total, one = self._timing, result.timing
        total.tokenization = max(total.tokenization, one.tokenization)
        total.queue = max(total.queue, one.queue)
        total.inference = max(total.inference, one.inference)

    def check_time(self, now: float) -> None:
        """Whether trying again is of use.

        Raises:
            DeadlineExceeded: it is not.
        """
        if now >= self.origin.deadline:
            raise DeadlineExceeded("the encoder was not done in time")

    def result(self) -> EncodeResult:
        """All that came; every text has its code by now."""
        assert None not in self._codes
        floats = cast(list[NDArray[np.float32]], self._floats) if self.embeddings else None
        return EncodeResult(
            cast(list[StoredCode], self._codes), floats, self._encoded, self._timing
        )


@dataclass(frozen=True, slots=True)
class Tries:
    """Whom some texts were sent to in vain.

    Attributes:
        labels: of those encoders.
        sent: how many of them may have worked on the texts when they failed.
        refusal: of one that has no room, with the shortest wait.
        error: the last.
    """

    labels: frozenset[str] = frozenset()
    sent: int = 0
    refusal: Overloaded | None = None
    error: Overloaded | EncoderFailed | EncoderChanged | None = None

    def after(self, label: str, error: Overloaded | EncoderFailed | EncoderChanged) -> Tries:
        """One more.

        Raises:
            EncoderUnavailable: the texts have been with enough encoders that failed.
        """
        refusal, sent = self.refusal, self.sent
        if isinstance(error, Overloaded) and (refusal is None or _wait(error) < _wait(refusal)):
            refusal = error
        if isinstance(error, EncoderFailed) and error.was_sent:
            sent += 1
        tries = Tries(self.labels | {label}, sent, refusal, error)
        if sent >= MAX_SENT:
            raise EncoderUnavailable(f"{sent} encoders failed: {error}", retry_after=1)
        return tries

    @property
    def reason(self) -> str:
        """Of the last try, for metrics."""
        if isinstance(self.error, EncoderFailed):
            return self.error.fault
        return "busy" if isinstance(self.error, Overloaded) else "other code"

    def end(self) -> ApiError | EncoderChanged:
        """What the caller is told when nobody is left."""
        if self.refusal is not None:
            return self.refusal
        if isinstance(self.error, EncoderChanged):
            return self.error
        message = str(self.error) if self.error else "no encoder is up"
        return EncoderUnavailable(message, retry_after=1)


def _wait(error: Overloaded) -> float:
    return error.retry_after or 0.0
