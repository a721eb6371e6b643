"""Which rows train and which are held out for the report. Pure.

Equal codes (repeated texts, mostly) go to the same side, or the test would be known already. What
is held out is drawn by code (`draw_order`): a version that is trained on more of the same data
holds out the same rows, and those that its base held out in any case.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.example_rows import FREE, TEST, TRAIN, ExampleRows
from models.head_runtime import TaskKind
from models.training.folds import draw_order, group_codes

TEST_FRACTION = 0.2
# Fewer held-out rows than this say little and are missed in training: then the report is
# cross-validated instead, unless a fraction was asked for.
FEWEST_TEST_ROWS = 20


def split_rows(
    rows: ExampleRows, kind: TaskKind, fraction: float | None, seed: int
) -> tuple[ExampleRows, list[str]]:
    """The rows with every free one's side decided, and warnings.

    Args:
        rows: some of them free.
        kind: single label: every label is held out in proportion, and keeps a row to train on.
        fraction: of the free rows to hold out; None: a fifth, where that makes enough rows for a
            report or others are held out already, else nothing.
        seed: of the draw.
    """
    side = rows.side.copy()
    if not (side == FREE).any():
        return rows, []
    first, group = group_codes(rows.codes)
    of_group = np.full(len(first), FREE, dtype=np.int8)
    for decided in (TRAIN, TEST):  # a code on both sides: what is free stays out of training
        of_group[group[side == decided]] = decided
    free = np.flatnonzero(of_group == FREE)
    has_test = bool((side == TEST).any())
    share = TEST_FRACTION if fraction is None else fraction
    wanted = round(len(free) * share)
    if not has_test:
        wanted = max(1, wanted)
    if fraction is None and not has_test and wanted < FEWEST_TEST_ROWS:
        wanted = 0
    strata = rows.targets[first] if kind == "single_label" else np.zeros(len(first), dtype=np.int64)
    has_train = np.isin(strata[free], strata[of_group == TRAIN])
    order = draw_order(rows.codes[first[free]], seed)
    held = _draw(strata[free], has_train, order, wanted)
    of_group[free] = np.where(held, TEST, TRAIN)
    open_rows = side == FREE
    side[open_rows] = of_group[group[open_rows]]
    notes = []
    if wanted and not held.any() and not has_test:
        notes.append("no label has two different texts: nothing could be held out")
    elif held.any() and len(np.unique(strata[free][held])) < len(np.unique(strata[free])):
        notes.append("too few rows of some labels to hold out some of each")
    return replace(rows, side=side), notes


def _draw(
    strata: NDArray[np.int64],
    has_train: NDArray[np.bool_],
    order: NDArray[np.uint64],
    wanted: int,
) -> NDArray[np.bool_]:
    """Hold out about `wanted`, in proportion, the lowest in order of each stratum.

    A stratum keeps one to train on, unless it has others on that side.
    """
    held = np.zeros(len(strata), dtype=bool)
    names, place, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    if not len(names):
        return held
    room = sizes - 1
    room[place[has_train]] = sizes[place[has_train]]
    exact = sizes * min(wanted, int(room.sum())) / len(strata)
    quota = np.minimum(np.floor(exact).astype(np.int64), room)
    for _ in range(min(wanted, int(room.sum())) - int(quota.sum())):
        # The largest remainder that has room: one each until all are given.
        remainder = np.where(quota < room, exact - quota, -np.inf)
        quota[int(remainder.argmax())] += 1
    ranked = np.lexsort((order, place))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.empty(len(strata), dtype=np.int64)
    rank[ranked] = np.arange(len(strata)) - np.repeat(starts, sizes)
    held[:] = rank < quota[place]
    return held
