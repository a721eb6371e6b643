"""How a version's score grew with its training rows. Runs in the training worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes, Floats
from models.comparison import wilson_interval
from models.decision import right_answers
from models.example_rows import TEST, TRAIN, ExampleRows
from models.head_runtime import ClassWeight, Head, HeadKind, HeadStack, TaskKind

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
LEAST_ROWS = 8
# Points with more rows than that are left out: a curve is looked at, not waited for.
MOST_ROWS = 20_000


def learning_curve(
    rows: ExampleRows,
    head: Head,
    thresholds: tuple[float, ...] | None,
    *,
    head_kind: HeadKind,
    kind: TaskKind,
    outputs: int,
    class_weight: ClassWeight,
    names: Codes | None,
    seed: int,
) -> list[dict[str, Any]]:
    """Heads of the same kind on parts of a version's training rows, tested on its held-out rows.

    Parts are nested: each holds the rows of the smaller ones. The last point is the version itself,
    with all its rows.

    Args:
        rows: of the version, held-out ones among them.
        head: of the version.
        thresholds: multi label: the version's own.
        head_kind: of the version's head; the parts are fitted with the same.
        kind: the task's.
        outputs: number of labels (1 for regression).
        class_weight: as the version was trained.
        names: codes of the labels' names, if it was trained with them.
        seed: of the order in which rows are taken.

    Returns:
        Points by `rows`: `accuracy` with its 95% `interval`, or a regression's `mae`. Parts that
        cannot make a head, such as those with rows of one label only, are left out.

    Raises:
        ValueError: the version has no held-out rows.
    """
    from models.training.heads import train_head

    train, test = rows.take(rows.side == TRAIN), rows.take(rows.side == TEST)
    if not len(test):
        raise ValueError("no rows were held out to test on")
    order = np.random.default_rng(seed).permutation(len(train))
    points = []
    for share in SHARES:
        count = int(len(train) * share)
        if not LEAST_ROWS <= count <= MOST_ROWS:
            continue
        part = train.take(order[:count])
        try:
            trained = train_head(
                part.codes,
                part.targets,
                kind=kind,
                outputs=outputs,
                head=head_kind,
                class_weight=class_weight,
                names=names,
                seed=seed,
            )
        except ValueError:
            continue
        scores = HeadStack([trained.head], [kind]).scores(test.codes)
        points.append(_point(count, scores, test.targets, kind, trained.thresholds))
    scores = HeadStack([head], [kind]).scores(test.codes)
    return [*points, _point(len(train), scores, test.targets, kind, thresholds)]


def _point(
    rows: int,
    scores: Floats,
    targets: NDArray[Any],
    kind: TaskKind,
    thresholds: tuple[float, ...] | None,
) -> dict[str, Any]:
    if kind == "regression":
        mae = float(np.abs(scores[:, 0] - targets).mean())
        return {"rows": rows, "accuracy": None, "interval": None, "mae": mae}
    right = right_answers(scores, targets, kind, thresholds)
    interval = list(wilson_interval(int(right.sum()), len(right)))
    return {"rows": rows, "accuracy": float(right.mean()), "interval": interval, "mae": None}
