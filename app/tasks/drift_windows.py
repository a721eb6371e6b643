"""Which codes of live texts are kept, how many, and when their figures must be made anew.

On the main path that costs a dictionary look-up a request, and now and then a few list entries.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

WINDOW = 1_024  # texts of a task that are kept, the newest
PER_SECOND = 8.0  # of them from one set of tasks, once so many are kept: a window of two minutes
MAX_TASKS = 256  # with a window: 60 MB of codes if no two tasks share any
MAX_SETS = 1_000
KEEP_S = 10.0  # figures, though new texts came
NEW_SHARE = 8  # an eighth more texts in a window that is not full: its figures are made anew


@dataclass(slots=True)
class _Bucket:
    """How many more texts asked of one set of tasks are kept now."""

    tokens: float
    at: float  # when they were counted
    closed_until: float = 0.0


@dataclass(slots=True, eq=False, weakref_slot=True)
class Window:
    """The newest codes asked of a task, all of one encoder; `noted` counts all that came."""

    encoder: str
    since: float = field(default_factory=time.time)
    noted: int = 0
    codes: deque[bytes] = field(default_factory=lambda: deque(maxlen=WINDOW))


class Windows:
    """Windows by task name.

    Args:
        per_second: texts kept of one set of tasks, once a window is full.
    """

    def __init__(self, per_second: float = PER_SECOND) -> None:
        self._per_second = per_second
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._windows: dict[str, Window] = {}

    def note(self, names: tuple[str, ...], encoder: str, codes: Sequence[bytes]) -> None:
        """Keep codes that a set of tasks was asked about, or some of them."""
        now = time.monotonic()
        bucket = self._buckets.get(names)
        if bucket is None:
            bucket = self._open(names, now)
        elif now < bucket.closed_until:  # nearly always, where there is much traffic
            return
        tokens = min(WINDOW, bucket.tokens + (now - bucket.at) * self._per_second)
        kept = _spread(codes, int(tokens))
        bucket.at, bucket.tokens = now, tokens - len(kept)
        bucket.closed_until = now + max(0.0, 1 - bucket.tokens) / self._per_second
        for name in names if kept else ():
            window = self._of(name, encoder)
            window.codes.extend(kept)
            window.noted += len(kept)

    def names(self) -> list[str]:
        """Of the tasks that have a window."""
        return list(self._windows)

    def get(self, name: str, created_at: float) -> Window | None:
        """The window of a task that was made then; that of a deleted one of its name is dropped."""
        window = self._windows.get(name)
        if window is None or window.since < created_at:
            self._windows.pop(name, None)
            return None
        return window

    def _open(self, names: tuple[str, ...], now: float) -> _Bucket:
        if len(self._buckets) >= MAX_SETS:
            self._buckets.pop(next(iter(self._buckets)))
        bucket = self._buckets[names] = _Bucket(WINDOW, now)
        return bucket

    def _of(self, name: str, encoder: str) -> Window:
        window = self._windows.get(name)
        if window is None or window.encoder != encoder:
            if window is None and len(self._windows) >= MAX_TASKS:
                self._windows.pop(next(iter(self._windows)))
            window = self._windows[name] = Window(encoder)
        return window


def still_hold(counted: int, noted: int, age_s: float) -> bool:
    """Whether figures of a window need not be made anew. Pure.

    So a full window is counted once in `KEEP_S`, one that fills also for each eighth by which it
    grew, however often somebody looks and whatever comes.

    Args:
        counted: texts that the window had taken when they were made.
        noted: texts that it has taken by now.
        age_s: how long ago they were made.
    """
    if noted == counted:
        return True
    if age_s >= KEEP_S:
        return False
    return counted >= WINDOW or (noted - counted) * NEW_SHARE < counted


def _spread(codes: Sequence[bytes], most: int) -> Sequence[bytes]:
    """At most so many of a request's codes, from all over it: its texts may be sorted."""
    if len(codes) <= most:
        return codes
    return [codes[place * len(codes) // most] for place in range(most)]
