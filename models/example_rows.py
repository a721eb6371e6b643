"""The labelled rows of a head version, kept beside it: codes and targets, never texts.

They let a next version be trained without encoding anything again, and two versions be compared on
rows that neither was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from models.artifact import ArtifactError, read_tensors, write_durably
from models.codes import Codes
from models.head_runtime import TaskKind

EXAMPLES = "examples.safetensors"
TRAIN, TEST, FREE = 0, 1, 2  # sides; FREE until a split decides
PARTS = ("examples", "test_examples")  # of the request that a row came with
SHOWN = 10


@dataclass(frozen=True, slots=True)
class ExampleRows:
    """Rows, as parallel arrays.

    Attributes:
        codes: `(n, bits // 8)` uint8.
        targets: as `models.training.heads.train_head` takes them.
        side: `(n,)` int8, `TRAIN` or `TEST`.
        version: `(n,)` int32, the version that a row came with; 0 is the one it is stored with,
            whose number is not known before it is stored.
        part: `(n,)` int8, a place in `PARTS`.
        row: `(n,)` int32, the row's place in its part.
    """

    codes: Codes
    targets: NDArray[Any]
    side: NDArray[np.int8]
    version: NDArray[np.int32]
    part: NDArray[np.int8]
    row: NDArray[np.int32]

    @classmethod
    def of(
        cls, codes: Codes, targets: NDArray[Any], side: int = FREE, part: int = 0
    ) -> ExampleRows:
        """The rows of one part of a request."""
        count = len(codes)
        if len(targets) != count:
            raise ValueError(f"{count} codes and {len(targets)} targets")
        return cls(
            codes=codes,
            targets=targets,
            side=np.full(count, side, dtype=np.int8),
            version=np.zeros(count, dtype=np.int32),
            part=np.full(count, part, dtype=np.int8),
            row=np.arange(count, dtype=np.int32),
        )

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[Any]) -> ExampleRows:
        """Some rows, by number or mask."""
        return ExampleRows(*(getattr(self, name)[rows] for name in _FIELDS))

    def known_as(self, version: int) -> ExampleRows:
        """The same rows, those of the version they are stored with under its number."""
        own = np.where(self.version == 0, np.int32(version), self.version)
        return replace(self, version=own)

    def names(self, rows: NDArray[Any]) -> str:
        """Some rows by number, for people: `3, 17, test 4, 5 of version 1`; the first ten."""
        shown = []
        for row in np.asarray(rows)[:SHOWN].tolist():
            name = f"{'test ' if self.part[row] else ''}{self.row[row]}"
            came_with = int(self.version[row])
            shown.append(f"{name} of version {came_with}" if came_with else name)
        return ", ".join(shown) + (", …" if len(rows) > SHOWN else "")


_FIELDS = ("codes", "targets", "side", "version", "part", "row")
_DTYPES = {"codes": "uint8", "side": "int8", "version": "int32", "part": "int8", "row": "int32"}


def join_rows(parts: Sequence[ExampleRows]) -> ExampleRows:
    """Rows one after another."""
    return ExampleRows(*(np.concatenate([getattr(p, name) for p in parts]) for name in _FIELDS))


def save_rows(folder: Path, rows: ExampleRows) -> None:
    """Write rows into a version's folder, durably; whoever renames the folder syncs it."""
    write_durably(folder / EXAMPLES, save(rows_as_tensors(rows)))


def load_rows(folder: Path, bits: int) -> ExampleRows | None:
    """The rows of a version; None where it was stored without.

    Args:
        folder: of the version.
        bits: width of its codes.

    Raises:
        ArtifactError: the file is damaged or does not belong to such codes.
    """
    if not (folder / EXAMPLES).exists():
        return None
    return rows_of_tensors(read_tensors(folder / EXAMPLES), bits)


def rows_as_tensors(rows: ExampleRows) -> dict[str, NDArray[Any]]:
    """Rows as named arrays, to be stored."""
    return {name: np.ascontiguousarray(getattr(rows, name)) for name in _FIELDS}


def rows_of_tensors(tensors: dict[str, NDArray[Any]], bits: int) -> ExampleRows:
    """Rows from named arrays.

    Args:
        tensors: as `rows_as_tensors` gives them.
        bits: width of the codes.

    Raises:
        ArtifactError: something is missing, of another type, or does not belong to such codes.
    """
    if set(tensors) != set(_FIELDS):
        raise ArtifactError(f"{EXAMPLES} cannot have the tensors {sorted(tensors)}")
    lengths = {len(value) if value.ndim else -1 for value in tensors.values()}
    if len(lengths) != 1 or tensors["codes"].shape[1:] != (bits // 8,):
        raise ArtifactError(f"{EXAMPLES} does not hold rows of {bits} bits")
    for name, dtype in _DTYPES.items():
        if tensors[name].dtype != dtype or (name != "codes" and tensors[name].ndim != 1):
            raise ArtifactError(f"{EXAMPLES} has a wrong {name}")
    if not np.isin(tensors["side"], (TRAIN, TEST)).all():
        raise ArtifactError(f"{EXAMPLES} has a wrong side")
    return ExampleRows(**tensors)


def check_rows_of(rows: ExampleRows, kind: TaskKind, labels: int) -> None:
    """Check what came from elsewhere: that the rows' targets are those of such a task.

    Raises:
        ArtifactError: they are not, or a row's part or place cannot be.
    """
    targets = rows.targets
    if kind == "regression":
        fits = targets.dtype == np.float64 and targets.ndim == 1 and np.isfinite(targets).all()
    elif kind == "single_label":
        fits = targets.dtype == np.int64 and targets.ndim == 1 and _within(targets, labels)
    else:
        fits = targets.dtype == np.int64 and targets.shape[1:] == (labels,) and _within(targets, 2)
    if not fits:
        raise ArtifactError(f"the rows' targets are not those of a {kind} task of {labels} labels")
    if not _within(rows.part, len(PARTS)) or (rows.row < 0).any() or (rows.version < 0).any():
        raise ArtifactError("the rows' numbers cannot be")


def _within(values: NDArray[Any], stop: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < stop)
