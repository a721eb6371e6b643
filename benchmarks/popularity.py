"""How often texts come again, and what a cache finds of them. Pure arithmetic.

Time is counted in texts asked: at `r` texts a second, `t` seconds are `r * t` of them. The cache is
the service's: a code is stored when its text was missing, lives for a fixed time from then on
(a hit does not renew it), and the least recently used ones go when there is no room.

Sources: Che, Tung and Wang, *Hierarchical Web Caching Systems* (2002), for the characteristic time
of a cache that drops the least recently used; Jung, Berger and Balakrishnan, *Modeling TTL-based
Internet Caches* (2003), for lives that a hit does not renew: `rate * life / (1 + rate * life)`.
Both are the chance that a text is held, which is the chance that it is found (arrivals at random
times see time averages). With both bounds the smaller of the two is taken, an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT_RANKS = 4096
GROUPS = 512  # of the ranks beyond, each of about one frequency


@dataclass(frozen=True, slots=True)
class Popularity:
    """Texts by how often they are asked for.

    Attributes:
        shares: `(g,)` of all texts asked, for one text of each group.
        counts: `(g,)` texts of each group.
        unique: share of texts that never come again.
    """

    shares: Floats
    counts: Floats
    unique: float = 0.0


def zipf(texts: int, exponent: float, unique: float = 0.0) -> Popularity:
    """Frequencies of 1 / rank^exponent over some distinct texts.

    Ranks beyond `EXACT_RANKS` are taken in groups of about one frequency, so that ten billion texts
    are as quick as ten.

    Args:
        texts: distinct ones that come again.
        exponent: 0 for texts that are all as frequent.
        unique: share of texts asked that are none of these and never come again.

    Raises:
        ValueError: no text, a negative exponent, or a share outside of 0 to 1.
    """
    if texts < 1 or exponent < 0 or not 0 <= unique <= 1:
        raise ValueError(f"no such traffic: {texts} texts, exponent {exponent}, unique {unique}")
    exact = min(texts, EXACT_RANKS)
    ranks = np.arange(1, exact + 1, dtype=np.float64)
    weights, counts = ranks**-exponent, np.ones(exact)
    if texts > exact:
        edges = np.unique(np.geomspace(exact, texts, GROUPS + 1).round())
        low, high = edges[:-1] + 0.5, edges[1:] + 0.5
        group_counts = high - low
        weights = np.concatenate([weights, _integral(low, high, exponent) / group_counts])
        counts = np.concatenate([counts, group_counts])
    shares = weights / float(counts @ weights) * (1.0 - unique)
    return Popularity(shares, counts, unique)


def _integral(low: Floats, high: Floats, exponent: float) -> Floats:
    """Of x^-exponent."""
    if abs(exponent - 1.0) < 1e-9:
        return np.log(high / low)
    power = 1.0 - exponent
    return (high**power - low**power) / power


def distinct(popularity: Popularity, asked: float) -> float:
    """How many different texts are expected among the first `asked`.

    These are the misses of an empty cache that forgets nothing.
    """
    never = np.exp(asked * np.log1p(-np.minimum(popularity.shares, 1 - 1e-12)))
    return float(popularity.counts @ (1.0 - never)) + popularity.unique * asked


def characteristic_time(
    popularity: Popularity, room: float | None, life: float | None = None
) -> float:
    """How long ago a text may have been asked last, to be still there: `inf` if all have room.

    Args:
        popularity: of the texts.
        room: codes that the cache holds; None for as many as come.
        life: of a code; None for ever.

    Returns:
        Texts asked since then.
    """
    if room is None or held(popularity, np.inf, life) <= room:
        return float("inf")
    low, high = 0.0, 1.0
    while held(popularity, high, life) < room:
        high *= 2.0
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if held(popularity, middle, life) < room else (low, middle)
    return high


def held(popularity: Popularity, age: float, life: float | None = None) -> float:
    """How many codes a cache holds that drops what was not asked for during `age`."""
    longest = age if life is None else min(age, life)
    unique = popularity.unique * longest if popularity.unique else 0.0
    return float(popularity.counts @ _present(popularity, age, life)) + unique


def hit_ratio(popularity: Popularity, room: float | None, life: float | None = None) -> float:
    """Share of texts found, once the cache is as full as it gets (see `characteristic_time`)."""
    age = characteristic_time(popularity, room, life)
    found = popularity.counts * popularity.shares * _present(popularity, age, life)
    return float(found.sum())


def _present(popularity: Popularity, age: float, life: float | None) -> Floats:
    """The chance that a text of each group is in the cache."""
    # Shares are 0 where all texts are unique; 0 * inf would be nan.
    recent: Floats = -np.expm1(-popularity.shares * min(age, 1e300))
    if life is None:
        return recent
    rate = popularity.shares * life
    return np.minimum(recent, rate / (1.0 + rate))
