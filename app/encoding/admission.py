"""Admission before the queue: permits counted in texts, and a bound on waiting. Pure."""

from __future__ import annotations

from collections import Counter

MEMORY = 0.9  # of the encoder's speed, from batch to batch
# A request may wait this many times as long as it would take alone: who asks for much waits longer.
PATIENCE = 4.0
# Who holds little finds room where others have taken all: so much on top, for such clients alone.
RESERVE = 8  # one part in so many


class Admission:
    """Counts what is in the house and refuses what would be too much or too late.

    Args:
        max_texts: texts admitted and not yet answered. Clients that hold no more than an eighth of
            these may go an eighth over them, so that one who takes all shuts nobody out.
        max_wait_s: how long a request may wait for others.
        workers: batches that run at the same time.
    """

    def __init__(self, max_texts: int, max_wait_s: float, workers: int = 1) -> None:
        self._max_texts = max_texts
        self._max_wait_s = max_wait_s
        self._workers = workers
        self._tokens = self._seconds = 0.0  # recent ones; not known yet
        self._held: Counter[str] = Counter()
        self.texts = 0

    def try_enter(self, texts: int, client: str = "") -> bool:
        """Take `texts` permits for a client, or none."""
        reserve = self._max_texts // RESERVE
        is_light = self._held[client] + texts <= reserve
        if self.texts + texts > self._max_texts + (reserve if is_light else 0):
            return False
        self.texts += texts
        self._held[client] += texts
        return True

    def leave(self, texts: int, client: str = "") -> None:
        """Give a client's permits back."""
        self.texts -= texts
        self._held[client] -= texts
        if not self._held[client]:
            del self._held[client]

    def is_late(self, ahead: float, own: float) -> bool:
        """Whether a request of `own` tokens waits too long when `ahead` tokens come before it."""
        if not self._seconds:
            return False
        return ahead > self._max_wait_s * self._speed + PATIENCE * own

    def record(self, tokens: int, pass_s: float, since_last_s: float | None = None) -> None:
        """Learn the encoder's speed from a finished batch.

        Args:
            tokens: of the batch.
            pass_s: how long it took.
            since_last_s: since the batch before was finished, if texts have waited ever since:
                then this is what a batch takes of everybody's time, whatever it is spent on.
        """
        seconds = pass_s / self._workers if since_last_s is None else since_last_s
        self._tokens = MEMORY * self._tokens + tokens
        self._seconds = MEMORY * self._seconds + seconds

    def retry_after(self, waiting_tokens: int) -> float:
        """Seconds until about half of what waits is done, 1 to 30."""
        if not self._seconds:
            return 1.0
        return min(30.0, max(1.0, waiting_tokens / 2 / self._speed))

    @property
    def _speed(self) -> float:
        """Tokens a second of all workers together."""
        return self._tokens / self._seconds
