"""Cross-fitting: outputs for rows by heads that were not fitted on them.

One pass serves three ends: it chooses among candidates, it calibrates the chosen one, and where
there are too few rows to hold any out it is what the report is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Floats

FOLDS = 5
# Rows times outputs that are fitted on, over all folds: what keeps a search within some seconds.
# Where all folds are over it fewer are run, each still fitted on four fifths of the rows, so that
# what is learned about a prior or a temperature holds for the head that is fitted on all.
BUDGET = 250_000

Fitted = Callable[[Floats], Floats]
Fit = Callable[[NDArray[np.bool_]], Sequence[Fitted]]


@dataclass(frozen=True, slots=True)
class CrossFit:
    """What candidates say about rows that they were not fitted on.

    Attributes:
        rows: `(m,)` row numbers, each once; not all rows where folds were left out, and none
            whose label was in no other fold.
        outputs: of each candidate, `(m, outputs)`.
    """

    rows: NDArray[np.int64]
    outputs: list[Floats]


def folds_to_run(rows: int, outputs: int) -> int:
    """How many of `FOLDS` folds the budget has room for; at least one."""
    return int(np.clip(BUDGET // max(1, rows * outputs), 1, FOLDS))


def cross_fit(
    x: Floats, fold: NDArray[np.int64], run: int, fit: Fit, known: NDArray[Any] | None = None
) -> CrossFit | None:
    """Fit the candidates once a fold, on the other folds' rows, and apply them to the fold's.

    Args:
        x: `(n, width)` features.
        fold: `(n,)` the fold of each row.
        run: only folds under this number are held out.
        fit: gives the candidates fitted on the rows of a mask, always as many.
        known: `(n,)` labels; rows whose label the other folds lack are left out. None: all stay.

    Returns:
        None where nothing could be held out.
    """
    rows: list[NDArray[np.int64]] = []
    outputs: list[list[Floats]] = []
    for number in range(run):
        held = fold == number
        scored = held.copy()
        if known is not None:
            scored &= np.isin(known, known[~held])
            if len(np.unique(known[~held])) < 2:
                continue
        if not scored.any() or held.all():
            continue
        rows.append(np.flatnonzero(scored))
        outputs.append([candidate(x[scored]) for candidate in fit(~held)])
    if not rows:
        return None
    return CrossFit(
        np.concatenate(rows), [np.concatenate(one) for one in zip(*outputs, strict=True)]
    )
