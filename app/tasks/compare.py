"""Two versions of a task on the same held-out rows. Pure.

A row counts if one of the two held it out and neither was trained on its code: the head sees only
the code, so a text whose code was trained on is known, whichever upload it came with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import Conflict
from app.schemas import ChangedRow, ComparedVersion, Comparison, Interval, McNemar, VersionSettings
from app.tasks.settings import thresholds_of
from models.codes import Floats
from models.comparison import mcnemar, paired_difference
from models.decision import right_answers, threshold_array
from models.example_rows import PARTS, TEST, TRAIN, ExampleRows, join_rows
from models.head_artifact import HeadManifest
from models.head_runtime import Head, HeadStack

MAX_CHANGED = 1_000


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the two versions."""

    version: int
    manifest: HeadManifest
    settings: VersionSettings
    head: Head
    rows: ExampleRows | None


def compare_versions(task: str, a: Compared, b: Compared) -> Comparison:
    """Both versions on the rows that are new to both.

    Raises:
        Conflict: the two read codes of different encoders, have other labels, or there are no
            such rows.
    """
    if next(iter(a.manifest.encoders), "") != next(iter(b.manifest.encoders), ""):
        raise Conflict(
            f"versions {a.version} and {b.version} are for different encoders", param="b"
        )
    if a.manifest.labels != b.manifest.labels:
        raise Conflict(f"versions {a.version} and {b.version} have other labels", param="b")
    rows, excluded = rows_new_to_both(a, b)
    if rows is None:
        raise Conflict(
            f"versions {a.version} and {b.version} have no held-out rows that are new to both",
            param="b",
            code="no_common_rows",
        )
    kind, labels = b.manifest.kind, b.manifest.labels
    scores = [_scores(one, rows) for one in (a, b)]
    if kind == "regression":
        errors = [np.abs(values[:, 0] - rows.targets) for values in scores]
        return Comparison(
            task=task,
            a=ComparedVersion(version=a.version, accuracy=None, mae=float(errors[0].mean())),
            b=ComparedVersion(version=b.version, accuracy=None, mae=float(errors[1].mean())),
            rows=len(rows),
            excluded=excluded,
            difference=_interval(errors[0], errors[1]),
            mcnemar=None,
            changed=[],
            changed_count=0,
        )
    right = [
        right_answers(values, rows.targets, kind, thresholds_of(one.manifest, one.settings))
        for one, values in zip((a, b), scores, strict=True)
    ]
    answers = [_answers(one, values) for one, values in zip((a, b), scores, strict=True)]
    differ = np.flatnonzero((answers[0] != answers[1]).any(axis=1))
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    truth = _columns(rows.targets, len(labels))
    changed = [
        ChangedRow(
            version=int(rows.version[row]),
            part=PARTS[rows.part[row]],
            row=int(rows.row[row]),
            truth=_named(truth[row], labels, kind),
            a=_named(answers[0][row], labels, kind),
            b=_named(answers[1][row], labels, kind),
        )
        for row in differ[:MAX_CHANGED].tolist()
    ]
    return Comparison(
        task=task,
        a=ComparedVersion(version=a.version, accuracy=float(right[0].mean()), mae=None),
        b=ComparedVersion(version=b.version, accuracy=float(right[1].mean()), mae=None),
        rows=len(rows),
        excluded=excluded,
        difference=_interval(right[0].astype(float), right[1].astype(float)),
        mcnemar=McNemar(only_a=only_a, only_b=only_b, p_value=mcnemar(only_a, only_b)),
        changed=changed,
        changed_count=len(differ),
    )


def rows_new_to_both(a: Compared, b: Compared) -> tuple[ExampleRows | None, int]:
    """Rows that a or b held out and neither was trained on, b's first, and how many fell out.

    A code that both held out counts once, with b's label: the newer one where a label was
    corrected. None where no row is left.
    """
    kept = [one.rows for one in (b, a) if one.rows is not None]
    if len(kept) < 2:
        return None, 0
    trained = {code.tobytes() for rows in kept for code in rows.codes[rows.side == TRAIN]}
    held = [rows.take(rows.side == TEST) for rows in kept]
    seen = {code.tobytes() for code in held[0].codes}
    others = held[1].take(np.array([code.tobytes() not in seen for code in held[1].codes], bool))
    joined = join_rows([held[0], others])
    new = np.array([code.tobytes() not in trained for code in joined.codes], dtype=bool)
    excluded = int((~new).sum())
    return (joined.take(new) if new.any() else None), excluded


def _scores(one: Compared, rows: ExampleRows) -> Floats:
    return HeadStack([one.head], [one.manifest.kind]).scores(rows.codes)


def _interval(first: NDArray[Any], second: NDArray[Any]) -> Interval:
    difference = paired_difference(first, second)
    return Interval(mean=difference.mean, low=difference.low, high=difference.high)


def _answers(one: Compared, scores: Floats) -> NDArray[np.bool_]:
    """`(n, labels)`: which labels are given."""
    if one.manifest.kind == "single_label":
        return _columns(scores.argmax(axis=1), scores.shape[1])
    thresholds = thresholds_of(one.manifest, one.settings)
    return scores > threshold_array(thresholds, scores.shape[1])


def _columns(targets: NDArray[Any], labels: int) -> NDArray[np.bool_]:
    if targets.ndim == 2:
        return targets.astype(bool)
    columns: NDArray[np.bool_] = targets[:, None] == np.arange(labels)
    return columns


def _named(given: NDArray[np.bool_], labels: tuple[str, ...], kind: str) -> str | list[str]:
    names = [labels[place] for place in np.flatnonzero(given).tolist()]
    return names[0] if kind == "single_label" else names
