"""models.comparison, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.comparison import mcnemar, paired_difference, wilson_interval


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_two_sided_binomial_test(only_first: int, only_second: int) -> None:
    if only_first == only_second == 0:
        assert mcnemar(0, 0) == 1.0
        return
    expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_mcnemar_of_very_uneven_counts_is_no_error() -> None:
    assert 0 <= mcnemar(0, 5_000) < 1e-300
    assert mcnemar(100_000, 100_000) == 1.0


@given(st.integers(1, 500), st.data())
def test_the_interval_of_a_share_is_wilsons(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("kind", ["answers", "errors"])
def test_the_interval_of_a_difference_is_the_bootstraps(kind: str) -> None:
    random = np.random.default_rng(0)
    if kind == "answers":
        first, second = (random.random((2, 300)) < [[0.7], [0.8]]).astype(float)
    else:
        first, second = random.gamma(2.0, size=(2, 300))
    found = paired_difference(first, second)
    expected = stats.bootstrap(
        (second - first,), np.mean, n_resamples=9_999, method="percentile", rng=random
    ).confidence_interval
    assert found.mean == pytest.approx(np.mean(second - first))
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)


def test_equal_answers_differ_by_nothing() -> None:
    same = np.array([1.0, 0.0, 1.0])
    found = paired_difference(same, same)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="0 and 0 rows"):
        paired_difference(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="2 and 3 rows"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="needs a row"):
        wilson_interval(0, 0)
    assert math.isclose(wilson_interval(1, 1)[1], 1.0)
