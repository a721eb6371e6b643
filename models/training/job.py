"""One training job's numeric part, run in a worker process: codes and targets in, a head out."""

from __future__ import annotations

import ctypes
import signal
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.head_runtime import ClassWeight, Head, HeadKind, HeadStack, TaskKind

MIN_TEST_ROWS = 1
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows of one job. `test_codes` None means: hold out `test_fraction` of the rows.

    `codes` is `(n, bits // 8)` uint8; targets are as `train_head` takes them.
    """

    kind: TaskKind
    labels: list[str]
    codes: Codes
    targets: NDArray[Any]
    test_codes: Codes | None = None
    test_targets: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """See `TrainOptions` on the wire."""

    head: HeadKind = "linear"
    test_fraction: float = 0.2
    seed: int = 0
    class_weight: ClassWeight = None


def end_with_parent() -> None:
    """Have this process, a worker, end with the one that started it, however that ends.

    A worker waits for its next job on a pipe that it holds itself: after a `kill -9` of the
    service nothing else would tell it.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def fit_and_evaluate(data: TrainingData, options: TrainingOptions) -> tuple[Head, dict[str, Any]]:
    """Train on the training rows, report on the test rows.

    Without test rows of its own, the reported head is the one trained on the rows left after
    holding out; it is the one that is stored, so that the report is about what will be served.

    Raises:
        ValueError: the rows cannot make a head (the message says why).
    """
    # Here, not above: the service imports this module, only its worker process scikit-learn.
    from models.training.heads import train_head
    from models.training.report import evaluate

    started = time.perf_counter()
    rows, test_rows, notes = split_rows(data, options)
    test_codes = data.codes[test_rows] if data.test_codes is None else data.test_codes
    test_targets = data.targets[test_rows] if data.test_targets is None else data.test_targets
    trained = train_head(
        data.codes[rows],
        data.targets[rows],
        kind=data.kind,
        outputs=len(data.labels),
        head=options.head,
        class_weight=options.class_weight,
        seed=options.seed,
    )
    stack = HeadStack([trained.head], [data.kind])
    report = evaluate(
        stack.scores(test_codes),
        test_targets,
        data.targets[rows],
        kind=data.kind,
        labels=data.labels,
    )
    accuracy, majority = report["accuracy"], report["majority_accuracy"]
    if accuracy is not None and accuracy <= majority:
        notes.append("the test score is no better than always giving the most frequent answer")
    report |= {
        "kind": data.kind,
        "head": options.head,
        "n_train": len(rows),
        "n_test": len(test_codes),
        "test_source": "held_out" if data.test_codes is None else "given",
        "hyperparameters": trained.hyperparameters,
        "warnings": notes + trained.warnings,
        "fit_seconds": time.perf_counter() - started,
    }
    return trained.head, report


def split_rows(
    data: TrainingData, options: TrainingOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Training and held-out row numbers, and warnings.

    Stratified by label where every label has two rows and the held-out part has room for all.
    Equal codes (repeated texts, mostly) go to the same side, or the test would be known already.

    Raises:
        ValueError: too few rows to hold any out.
    """
    count = len(data.codes)
    everything = np.arange(count)
    notes = _row_warnings(data)
    if data.test_codes is not None:
        return everything, np.zeros(0, dtype=np.int64), notes
    if count < 4:
        raise ValueError(f"{count} examples are too few to hold any out for the report; give 4")
    _, first, group = np.unique(data.codes, axis=0, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise ValueError("all examples have the same code")
    targets = data.targets[first]
    held = max(MIN_TEST_ROWS, round(len(first) * options.test_fraction))
    held = min(held, len(first) - 1)
    stratify = None
    free = np.arange(len(first))  # the groups that may be held out
    if data.kind == "single_label":
        # A label's only row teaches; held out, it could not even be answered.
        _, label, sizes = np.unique(targets, return_inverse=True, return_counts=True)
        free = free[sizes[label] >= 2]
        classes = int((sizes >= 2).sum())
        held = min(held, len(free) - 1)
        if held < 1:
            raise ValueError("no label has two different texts, so none can be held out")
        if held >= classes and len(free) - held >= classes:
            stratify = targets[free]
        if stratify is None or len(free) < len(first):
            notes.append("too few rows of some labels to hold out some of each")
    from sklearn.model_selection import train_test_split  # see fit_and_evaluate

    _, test_groups = train_test_split(
        free, test_size=held, random_state=options.seed, stratify=stratify
    )
    in_train = ~np.isin(group.reshape(-1), test_groups)
    return everything[in_train], everything[~in_train], notes


def _row_warnings(data: TrainingData) -> list[str]:
    if data.kind != "single_label":
        return []
    notes = []
    counts = np.bincount(data.targets, minlength=len(data.labels))
    for number, word in ((0, "no example"), (1, "one example only")):
        names = [label for label, n in zip(data.labels, counts, strict=True) if n == number]
        if names:
            shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            notes.append(f"labels with {word}: {shown}")
    _, group = np.unique(data.codes, axis=0, return_inverse=True)
    pairs = np.unique(np.stack([group.reshape(-1), data.targets], axis=1), axis=0)
    conflicts = len(pairs) - len(np.unique(pairs[:, 0]))
    if conflicts:
        notes.append(f"{conflicts} repeated texts have conflicting labels")
    return notes
