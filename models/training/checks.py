"""What a person should know of their rows before they trust a head. Names rows, never texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.example_rows import TEST, TRAIN, ExampleRows
from models.head_runtime import ClassWeight, TaskKind
from models.training.folds import group_codes

UNEVEN = 20  # times as many rows of one label as of another
SHOWN_LABELS = 5
# Share of differing bits under which two texts are all but the same (docs/experiments.md).
NEAR = 0.06
# Test rows looked at, each against all training rows: so many, and no more than make so many pairs.
NEAR_ROWS = 2_000
NEAR_PAIRS = 100_000_000
TILE = (32, 2_048)  # rows of both sides whose distances are worked out in the processor's cache


def check_rows(
    rows: ExampleRows, kind: TaskKind, labels: Sequence[str], class_weight: ClassWeight
) -> list[str]:
    """Warnings about rows whose sides are decided."""
    notes = []
    if kind == "single_label":
        counts = np.bincount(rows.targets[rows.side == TRAIN], minlength=len(labels))
        given = np.bincount(rows.targets, minlength=len(labels))
        notes += _rare_labels(given, labels)
        notes += _uneven_labels(counts, labels, class_weight)
    elif kind == "multi_label":
        notes += _rare_labels(rows.targets.sum(axis=0), labels)
    if kind != "regression":
        notes += _conflicts(rows)
    return notes + _leaks(rows)


def _rare_labels(counts: NDArray[Any], labels: Sequence[str]) -> list[str]:
    notes = []
    for number, word in ((0, "no example"), (1, "one example only")):
        names = [label for label, n in zip(labels, counts.tolist(), strict=True) if n == number]
        if names:
            more = ", …" if len(names) > SHOWN_LABELS else ""
            notes.append(f"labels with {word}: {', '.join(names[:SHOWN_LABELS])}{more}")
    return notes


def _uneven_labels(
    counts: NDArray[np.int64], labels: Sequence[str], class_weight: ClassWeight
) -> list[str]:
    present = np.flatnonzero(counts)
    if class_weight or len(present) < 2:
        return []
    most, fewest = present[counts[present].argmax()], present[counts[present].argmin()]
    if counts[most] < UNEVEN * counts[fewest]:
        return []
    return [
        f"labels are very uneven: {counts[most]} rows of {labels[most]} and {counts[fewest]} of "
        f"{labels[fewest]} to train on; more rows of the rare ones help, or class_weight balanced"
    ]


def _conflicts(rows: ExampleRows) -> list[str]:
    _, group = group_codes(rows.codes)
    targets = rows.targets if rows.targets.ndim == 2 else rows.targets[:, None]
    pairs, first = np.unique(np.column_stack([group, targets]), axis=0, return_index=True)
    repeated, times = np.unique(pairs[:, 0], return_counts=True)
    conflicting = repeated[times > 1]
    if not len(conflicting):
        return []
    # One row of each label of each text, text by text.
    of_text = np.isin(pairs[:, 0], conflicting)
    return [
        f"{len(conflicting)} repeated texts have conflicting labels: rows "
        f"{rows.names(first[of_text])}"
    ]


def _leaks(rows: ExampleRows) -> list[str]:
    train, test = np.flatnonzero(rows.side == TRAIN), np.flatnonzero(rows.side == TEST)
    if not len(train) or not len(test):
        return []
    _, group = group_codes(rows.codes)
    equal = np.isin(group[test], group[train])
    notes = []
    if equal.any():
        notes.append(
            f"{equal.sum()} of {len(test)} test rows are also trained on, so the test score "
            f"flatters: rows {rows.names(test[equal])}"
        )
    others = _spread_out(test[~equal], min(NEAR_ROWS, max(1, NEAR_PAIRS // len(train))))
    near = nearest_distance(rows.codes[others], rows.codes[train]) < NEAR * rows.codes.shape[1] * 8
    if near.any():
        notes.append(
            f"{near.sum()} of {len(others)} test rows are nearly the same as a row trained on "
            f"(under {NEAR:.0%} of the bits differ): rows {rows.names(others[near])}"
        )
    return notes


def nearest_distance(codes: Codes, others: Codes) -> NDArray[np.int64]:
    """Hamming distance of each code to the nearest of `others`, `(n,)`; both have rows."""
    words, other_words = _words(codes), _words(others)
    nearest = np.full(len(codes), codes.shape[1] * 8, dtype=np.int64)
    for start in range(0, len(codes), TILE[0]):
        some = words[:, start : start + TILE[0], None]
        best = nearest[start : start + TILE[0]]
        for other in range(0, len(others), TILE[1]):
            tile = other_words[:, None, other : other + TILE[1]]
            distances = np.zeros((some.shape[1], tile.shape[2]), dtype=np.uint16)
            for ours, theirs in zip(some, tile, strict=True):
                distances += np.bitwise_count(ours ^ theirs)
            np.minimum(best, distances.min(axis=1), out=best)
    return nearest


def _spread_out(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the rows, at even distances: files often lie label by label."""
    if len(rows) <= count:
        return rows
    return rows[np.arange(count) * len(rows) // count]


def _words(codes: Codes) -> NDArray[np.uint64]:
    """Codes as 64-bit words, word by word: `(words, n)`; zeros are appended to the last."""
    padding = -codes.shape[1] % 8
    rows = np.ascontiguousarray(np.pad(codes, ((0, 0), (0, padding)))).view(np.uint64)
    return np.ascontiguousarray(rows.T)
