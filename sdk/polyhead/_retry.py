"""When to try again, and after how long. Pure, but for the clock when `now` is not given."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

RETRIED = frozenset({429, 503})
"""The statuses that are tried again; no other is."""

BASE_DELAY = 0.25
"""Seconds: the first back-off is drawn from 0 to this, and each next range is twice as wide."""

MAX_BACKOFF = 8.0
"""Seconds: the widest range of a back-off."""

MAX_DELAY = 30.0
"""Seconds: the longest wait, whatever `Retry-After` asks."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _timestamp(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """What `Retry-After` asks for.

    Args:
        headers: Of the answer; names in any case.
        now: Unix seconds. A date is counted from the answer's own `Date` where it has one, so
            that two clocks that disagree do no harm, then from `now`, then from this clock.

    Returns:
        Seconds, at least 0 and not capped, or None when the header is missing or unreadable.
    """
    value = (_header(headers, "retry-after") or "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until = _timestamp(value) if value else None
    if until is None:
        return None
    sent = _timestamp(_header(headers, "date") or "")
    if sent is None:
        sent = time.time() if now is None else now
    return max(0.0, until - sent)


def retry_delay(
    attempt: int,
    status: int | None,
    headers: Mapping[str, str],
    rng: random.Random,
    *,
    now: float | None = None,
) -> float | None:
    """How long to wait before trying again.

    Exponential back-off with full jitter, on top of what the service asks for: clients that were
    refused together do not come back together.

    Args:
        attempt: Failures before this one, from 0.
        status: Of the answer, or None when there was no answer (a connection error).
        headers: Of the answer; `Retry-After` counts only with a status.
        rng: Draws the jitter.
        now: Unix seconds, for a `Retry-After` that is a date.

    Returns:
        Seconds, 0 to `MAX_DELAY`, or None: do not try again.
    """
    if status is not None and status not in RETRIED:
        return None
    backoff = rng.uniform(0.0, min(MAX_BACKOFF, BASE_DELAY * 2.0 ** min(attempt, 32)))
    asked = None if status is None else retry_after(headers, now)
    return min(MAX_DELAY, backoff + (asked or 0.0))
