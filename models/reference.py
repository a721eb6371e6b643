"""What is remembered of a head's training rows, to be compared with live codes. numpy only.

How often each bit is set in them, how far samples of them lie from their mean by chance, and what
the head answers to them: a few kilobytes, in which no row can be found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from models.artifact import ArtifactError, read_tensors, write_durably
from models.codes import Codes
from models.head_runtime import Head, HeadStack, TaskKind

REFERENCE = "reference.safetensors"
MIN_ROWS = 20  # under which nothing is said
QUANTILE = 0.99
DRAWS = 1_000
MOST_ROWS = 2_000  # that are drawn from; the frequencies are of all
AT_ONCE = 8_192  # rows that are unpacked

Counts = NDArray[np.uint32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """What is remembered of a version's training rows.

    Attributes:
        rows: how many different codes there are.
        ones: `(bits,)` uint32, how many of them have the bit set.
        limit: the squared distance, in units of `1 / texts + 1 / rows`, that samples of such rows
            stay under in 99 of 100 cases.
        answers: `(labels,)` uint32, how often the head gives each label to those rows; None where
            it does not give one label each.
    """

    rows: int
    ones: Counts
    limit: float
    answers: Counts | None = None

    @property
    def frequencies(self) -> Doubles:
        """`(bits,)`: the share of rows with each bit set."""
        return self.ones / self.rows


def make_reference(codes: Codes, answers: NDArray[Any] | None = None) -> Reference | None:
    """Remember training rows.

    Args:
        codes: `(n, bits // 8)` uint8, each code counted once.
        answers: `(labels,)` counts of what the head answers to them.

    Returns:
        None where there are fewer than `MIN_ROWS` different codes.
    """
    different = np.unique(codes, axis=0)
    if len(different) < MIN_ROWS:
        return None
    random = np.random.default_rng(0)
    drawn = different[random.permutation(len(different))[:MOST_ROWS]]
    ones = count_ones(different)
    return Reference(
        rows=len(different),
        ones=ones,
        limit=_limit(drawn, bit_weights(ones, len(different)), random),
        answers=None if answers is None else answers.astype(np.uint32),
    )


def reference_of_rows(codes: Codes, head: Head, kind: TaskKind, labels: int) -> Reference | None:
    """Remember training rows and what a head answers to them.

    Args:
        codes: `(n, bits // 8)` uint8, of the rows; each code counts once.
        head: that was trained on them.
        kind: of the task.
        labels: how many it has.

    Returns:
        None where there are fewer than `MIN_ROWS` different codes.
    """
    different = np.unique(codes, axis=0)
    return make_reference(different, answer_counts(head, kind, labels, different))


def answer_counts(
    head: Head, kind: TaskKind, labels: int, codes: Codes
) -> NDArray[np.int64] | None:
    """How often a head gives each label.

    Args:
        head: of the task.
        kind: of the task.
        labels: how many it has.
        codes: `(n, bits // 8)` uint8.

    Returns:
        `(labels,)`; None where it does not give one label each.
    """
    if kind != "single_label":
        return None
    stack = HeadStack([head], [kind])
    counts = np.zeros(labels, dtype=np.int64)
    for some in _batches(codes):
        counts += np.bincount(stack.best(some)[0][:, 0], minlength=labels)
    return counts


def count_ones(codes: Codes) -> Counts:
    """How many of some codes have each bit set: `(n, bits // 8)` uint8 to `(bits,)`."""
    counts: Counts = np.zeros(codes.shape[1] * 8, dtype=np.uint32)
    for some in _batches(codes):
        counts += np.unpackbits(some, axis=1).sum(axis=0, dtype=np.uint32)
    return counts


def _batches(codes: Codes) -> Iterator[Codes]:
    return (codes[start : start + AT_ONCE] for start in range(0, len(codes), AT_ONCE))


def bit_weights(ones: Counts, rows: int) -> Doubles:
    """What a difference of each bit's frequency counts: `(bits,)`, one over the bit's variance.

    A row with and one without each bit are added, so that none weighs endlessly.
    """
    smooth = (ones + 1.0) / (rows + 2.0)
    weights: Doubles = 1 / (smooth * (1 - smooth))
    return weights


def _limit(codes: Codes, weights: Doubles, random: np.random.Generator) -> float:
    """The 99% quantile of the squared distance by chance, times the harmonic size of the samples.

    The means of two samples differ by a sum over rows, normal by the central limit theorem with
    the rows' own covariance, correlated bits and all. Rows with random normal weights have that
    covariance (the multiplier bootstrap), whatever the sizes are: they only scale it.
    """
    rows = np.unpackbits(codes, axis=1).astype(np.float32)
    rows -= rows.mean(axis=0)
    rows *= np.sqrt(weights).astype(np.float32)
    drawn = random.standard_normal((DRAWS, len(rows)), dtype=np.float32) @ rows
    squared = (drawn.astype(np.float64) ** 2).sum(axis=1) / (len(rows) - 1)
    return float(np.quantile(squared, QUANTILE))


def reference_as_tensors(reference: Reference) -> dict[str, NDArray[Any]]:
    """A reference as named arrays, to be stored."""
    tensors: dict[str, NDArray[Any]] = {
        "ones": reference.ones,
        "rows": np.array([reference.rows], dtype=np.uint32),
        "limit": np.array([reference.limit], dtype=np.float64),
    }
    if reference.answers is not None:
        tensors["answers"] = reference.answers
    return tensors


def reference_of_tensors(tensors: dict[str, NDArray[Any]], bits: int, labels: int) -> Reference:
    """A reference from named arrays, which may come from anybody.

    Args:
        tensors: as `reference_as_tensors` gives them.
        bits: width of the codes.
        labels: of the head.

    Raises:
        ArtifactError: something is missing, of another type, or cannot be.
    """
    shapes = {"ones": ("uint32", (bits,)), "rows": ("uint32", (1,)), "limit": ("float64", (1,))}
    if "answers" in tensors:
        shapes["answers"] = ("uint32", (labels,))
    found = {name: (value.dtype.name, value.shape) for name, value in tensors.items()}
    if found != shapes:
        raise ArtifactError(f"{REFERENCE} does not belong to a head of {bits} bits")
    rows, limit = int(tensors["rows"][0]), float(tensors["limit"][0])
    if rows < MIN_ROWS or int(tensors["ones"].max()) > rows:
        raise ArtifactError(f"{REFERENCE} has counts that cannot be")
    if not (np.isfinite(limit) and limit > 0):
        raise ArtifactError(f"{REFERENCE} has a limit that cannot be")
    return Reference(rows, tensors["ones"], limit, tensors.get("answers"))


def save_reference(folder: Path, reference: Reference) -> None:
    """Write it into a version's folder, durably; whoever renames the folder syncs it."""
    write_durably(folder / REFERENCE, save(reference_as_tensors(reference)))


def load_reference(folder: Path, bits: int, labels: int) -> Reference | None:
    """The reference of a version; None where it was stored without.

    Args:
        folder: of the version.
        bits: width of its codes.
        labels: how many it has.

    Raises:
        ArtifactError: the file is damaged or does not belong to such a head.
    """
    if not (folder / REFERENCE).exists():
        return None
    return reference_of_tensors(read_tensors(folder / REFERENCE), bits, labels)
