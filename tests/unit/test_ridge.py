"""models.training.regression.fit_ridges against scikit-learn's Ridge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from models.codes import Codes, unpack_signs
from models.training.regression import ALPHAS, fit_ridges


@pytest.mark.parametrize(("count", "bits"), [(300, 64), (20, 64), (64, 64), (2, 64)])
def test_ridges_are_scikit_learns(
    random_codes: Callable[..., Codes], count: int, bits: int
) -> None:
    x = unpack_signs(random_codes(count, bits))
    targets = x[:, :5] @ np.arange(5.0) + np.random.default_rng(0).normal(size=count) + 7.0
    fresh = unpack_signs(random_codes(50, bits, seed=1))
    for alpha, found in zip(ALPHAS, fit_ridges(x, targets, ALPHAS), strict=True):
        expected = Ridge(alpha=alpha, solver="svd").fit(x.astype(np.float64), targets)
        np.testing.assert_allclose(found.weight[:, 0], expected.coef_, atol=2e-5)
        np.testing.assert_allclose(found(fresh)[:, 0], expected.predict(fresh), atol=1e-3)


def test_equal_rows_and_constant_targets_are_no_error(random_codes: Callable[..., Codes]) -> None:
    x = np.repeat(unpack_signs(random_codes(2, 64)), 10, axis=0)
    for targets in (np.zeros(20), np.full(20, 3.0)):
        [found] = fit_ridges(x, targets, [30.0])
        np.testing.assert_allclose(found(x)[:, 0], targets, atol=1e-5)
