"""models.neighbours against all distances, sorted, by plain numpy over single bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models import neighbours
from models.codes import Codes
from models.neighbours import Nearest, merge, nearest, nearest_by_numpy


@st.composite
def searches(draw: st.DrawFn) -> tuple[Codes, Codes, int]:
    width = draw(st.sampled_from([1, 3, 8, 16, 24]))
    queries = draw(hnp.arrays(np.uint8, (draw(st.integers(0, 4)), width)))
    # Few values: many equal distances.
    values = st.sampled_from([0, 1, 255]) if draw(st.booleans()) else None
    codes = draw(hnp.arrays(np.uint8, (draw(st.integers(0, 30)), width), elements=values))
    return queries, codes, draw(st.integers(1, 40))


def all_distances(queries: Codes, codes: Codes) -> np.ndarray:
    """The reference: bits that differ, `(q, n)`."""
    bits = [np.unpackbits(some, axis=1).astype(int) for some in (queries, codes)]
    return np.abs(bits[0][:, None] - bits[1][None]).sum(axis=2)


def check(found: Nearest, queries: Codes, codes: Codes, count: int) -> None:
    every = all_distances(queries, codes)
    expected = np.sort(every, axis=1)[:, :count]
    assert np.array_equal(found.distances, expected)
    # The places are those of codes at these distances, each once.
    assert np.array_equal(np.take_along_axis(every, found.places, axis=1), expected)
    for places in found.places.tolist():
        assert len(set(places)) == len(places)


@given(searches())
def test_the_nearest_are_found(search: tuple[Codes, Codes, int]) -> None:
    queries, codes, count = search
    check(nearest(queries, codes, count), *search)
    if len(codes):
        few = min(count, len(codes))
        check(nearest_by_numpy(queries, codes, few), queries, codes, few)


@given(searches(), st.integers(0, 30))
def test_sets_searched_one_by_one_are_one_set(search: tuple[Codes, Codes, int], cut: int) -> None:
    queries, codes, count = search
    cut = min(cut, len(codes))
    parts = [nearest(queries, codes[:cut], count), nearest(queries, codes[cut:], count)]
    check(merge(parts, [0, cut], count), *search)


def test_more_codes_than_a_block() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (2 * neighbours.BLOCK + 7, 24), dtype=np.uint8)
    queries = codes[[0, neighbours.BLOCK, len(codes) - 1]]
    found = nearest_by_numpy(queries, codes, 5)
    check(found, queries, codes, 5)
    assert found.places[:, 0].tolist() == [0, neighbours.BLOCK, len(codes) - 1]


def test_faiss_finds_the_same() -> None:
    pytest.importorskip("faiss")
    random = np.random.default_rng(1)
    codes = random.integers(0, 256, (5_000, 192), dtype=np.uint8)
    check(nearest(codes[:20], codes, 30), codes[:20], codes, 30)
    assert np.array_equal(
        nearest(codes[:20], codes, 30).distances, nearest_by_numpy(codes[:20], codes, 30).distances
    )


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match="8 and 16 bytes"):
        nearest(np.zeros((1, 8), np.uint8), np.zeros((1, 16), np.uint8), 1)
