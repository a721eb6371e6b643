"""Admission before the queue: permits counted in texts and tokens, not requests. Pure."""

from __future__ import annotations

FIRST_GUESS_TOKENS_PER_S = 2_000.0
SMOOTHING = 0.2


class Admission:
    """Counts what is in the house and refuses what would be too much.

    Args:
        max_texts: texts admitted and not yet answered.
        max_tokens: padded tokens waiting for a batch.
    """

    def __init__(self, max_texts: int, max_tokens: int) -> None:
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._tokens_per_s = FIRST_GUESS_TOKENS_PER_S
        self.texts = 0

    def try_enter(self, texts: int) -> bool:
        """Take `texts` permits, or none."""
        if self.texts + texts > self._max_texts:
            return False
        self.texts += texts
        return True

    def leave(self, texts: int) -> None:
        """Give permits back."""
        self.texts -= texts

    def has_room(self, waiting_tokens: int, new_tokens: int) -> bool:
        """Whether `new_tokens` may join the queue; alone, anything may."""
        return waiting_tokens == 0 or waiting_tokens + new_tokens <= self._max_tokens

    def record(self, tokens: int, seconds: float) -> None:
        """Learn the encoder's speed from a finished batch."""
        if seconds > 0:
            rate = tokens / seconds
            self._tokens_per_s += SMOOTHING * (rate - self._tokens_per_s)

    def retry_after(self, waiting_tokens: int) -> float:
        """Seconds until about half of what waits is done, 1 to 30."""
        return min(30.0, max(1.0, waiting_tokens / 2 / self._tokens_per_s))
