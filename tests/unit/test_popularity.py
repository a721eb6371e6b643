"""benchmarks.popularity against direct simulations of a cache, and against sums without groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.popularity import characteristic_time, distinct, held, hit_ratio, zipf
from benchmarks.simulate import CodeStore


def simulated(
    texts: int,
    exponent: float,
    *,
    unique: float = 0.0,
    room: int | None = None,
    life: float | None = None,
    asked: int = 60_000,
) -> tuple[float, int]:
    """Hit ratio of the second half of a stream through a real cache, and codes held at the end."""
    random = np.random.default_rng(7)
    weights = np.arange(1, texts + 1) ** -exponent
    stream = random.choice(texts, asked, p=weights / weights.sum())
    new = random.random(asked) < unique
    stream[new] = texts + np.arange(asked)[new]
    cache, found = CodeStore(room, life), []
    for moment, text in enumerate(stream.tolist()):
        found.append(cache.look_up(text, moment))
        if not found[-1]:
            cache.store(text, moment)
    return float(np.mean(found[asked // 2 :])), len(cache)


@pytest.mark.parametrize(
    ("exponent", "room", "unique"),
    [(0.7, 500, 0.0), (1.0, 100, 0.0), (1.0, 1000, 0.0), (1.2, 300, 0.0), (1.0, 500, 0.3)],
)
def test_least_recently_used(exponent: float, room: int, unique: float) -> None:
    popularity = zipf(5000, exponent, unique)
    measured, size = simulated(5000, exponent, room=room, unique=unique)
    assert hit_ratio(popularity, room) == pytest.approx(measured, abs=0.01)
    assert size == room


@pytest.mark.parametrize(("exponent", "life"), [(0.7, 2000.0), (1.0, 500.0), (1.2, 5000.0)])
def test_lives_that_a_hit_does_not_renew(exponent: float, life: float) -> None:
    measured, _ = simulated(5000, exponent, life=life)
    assert hit_ratio(zipf(5000, exponent), None, life) == pytest.approx(measured, abs=0.01)


def test_both_bounds() -> None:
    """The smaller of two chances is an approximation: within 0.03 here."""
    for room, life in ((500, 2000.0), (200, 5000.0), (1000, 1000.0)):
        measured, _ = simulated(5000, 1.0, room=room, life=life)
        assert hit_ratio(zipf(5000, 1.0), room, life) == pytest.approx(measured, abs=0.03)


def test_misses_of_a_cache_that_forgets_nothing() -> None:
    random = np.random.default_rng(3)
    weights = np.arange(1, 20_001) ** -1.0
    stream = random.choice(20_000, 30_000, p=weights / weights.sum())
    for asked in (100, 3000, 30_000):
        expected = distinct(zipf(20_000, 1.0), asked)
        assert expected == pytest.approx(len(set(stream[:asked].tolist())), rel=0.03)


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.0, 1.3])
def test_groups_are_as_good_as_single_texts(exponent: float) -> None:
    texts = 300_000
    weights = np.arange(1, texts + 1, dtype=float) ** -exponent
    shares = weights / weights.sum()
    popularity = zipf(texts, exponent)
    assert float(popularity.counts.sum()) == pytest.approx(texts)
    exact = float(np.sum(1.0 - np.exp(-shares * 50_000)))
    assert held(popularity, 50_000) == pytest.approx(exact, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.integers(2, 10**10),
    exponent=st.floats(0.0, 1.5),
    unique=st.floats(0.0, 0.9),
    room=st.floats(1.0, 1e9),
    life=st.one_of(st.none(), st.floats(1.0, 1e10)),
)
def test_shape(texts: int, exponent: float, unique: float, room: float, life: float | None) -> None:
    popularity = zipf(texts, exponent, unique)
    total = float(popularity.counts @ popularity.shares) + unique
    assert total == pytest.approx(1.0)
    ratio, more = hit_ratio(popularity, room, life), hit_ratio(popularity, 2 * room, life)
    assert 0.0 <= ratio <= more + 1e-9 <= 1.0 - unique + 2e-9
    age = characteristic_time(popularity, room, life)
    if np.isfinite(age):
        assert held(popularity, age, life) == pytest.approx(room, rel=1e-6)


def test_refuses_what_is_no_traffic() -> None:
    for wrong in ((0, 1.0, 0.0), (5, -0.1, 0.0), (5, 1.0, 1.5)):
        with pytest.raises(ValueError, match="no such traffic"):
            zipf(*wrong)
