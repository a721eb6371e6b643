"""Class means as a linear head: a text gets the label whose mean sign vector is nearest.

`|x - m|^2 = |x|^2 - 2 x.m + |m|^2`, and `|x|^2` is the same for every label: so the nearest mean
has the highest `x.m - |m|^2 / 2`. Source: Snell, Swersky, Zemel, Prototypical networks (2017),
section 2.4.
"""

from __future__ import annotations

import numpy as np

from models.codes import Floats
from models.training.logistic import LinearMap, Link


def class_means(x: Floats, targets: Floats, link: Link) -> LinearMap:
    """The map that scores by nearness to each label's mean.

    Args:
        x: `(n, width)` signs.
        targets: `(n, outputs)` of 0 and 1. Each label needs a row that has it, and with logistic
            one that lacks it.
        link: softmax: labels compete. logistic: each label's mean competes with the mean of the
            rows without it.
    """
    with_label = _scores(x, targets)
    if link == "softmax":
        return with_label
    without = _scores(x, 1.0 - targets)
    return LinearMap(with_label.weight - without.weight, with_label.bias - without.bias)


def _scores(x: Floats, targets: Floats) -> LinearMap:
    means = (x.T @ targets) / targets.sum(axis=0)
    return LinearMap(
        means.astype(np.float32), (-0.5 * (means * means).sum(axis=0)).astype(np.float32)
    )
