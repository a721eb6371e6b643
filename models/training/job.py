"""One training job's numeric part, run in a worker process: codes and targets in, a head out."""

from __future__ import annotations

import ctypes
import signal
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.example_rows import FREE, TEST, TRAIN, ExampleRows, join_rows
from models.head_runtime import (
    ClassWeight,
    Head,
    HeadChoice,
    HeadKind,
    HeadStack,
    TaskKind,
)
from models.reference import Reference, reference_of_rows

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows of one job. `test_codes` None: hold some of the rows out, or cross-validate.

    `codes` is `(n, bits // 8)` uint8; targets are as `train_head` takes them. `base`: the rows of
    a former version, trained on as well, but for those that it held out. `names`: see `train_head`.
    """

    kind: TaskKind
    labels: list[str]
    codes: Codes
    targets: NDArray[Any]
    test_codes: Codes | None = None
    test_targets: NDArray[Any] | None = None
    base: ExampleRows | None = None
    names: Codes | None = None


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """See `TrainOptions` on the wire."""

    head: HeadChoice = "auto"
    test_fraction: float | None = None
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


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What is stored as a version.

    Attributes:
        head: calibrated.
        kind: of the head, `auto` decided.
        thresholds: multi label: what each label's probability must be above.
        report: JSON-ready.
        rows: all rows, each with its side.
        reference: what live traffic is compared with; None where there are too few rows.
    """

    head: Head
    kind: HeadKind
    thresholds: tuple[float, ...] | None
    report: dict[str, Any]
    rows: ExampleRows
    reference: Reference | None


def fit_and_evaluate(data: TrainingData, options: TrainingOptions) -> TrainingResult:
    """Train on the training rows, report on the test rows.

    The head that is stored is the one that was reported, not one refitted on everything, so that
    the report is about what will be served. Only where there are too few rows to hold any out is
    the head fitted on all, and the report about heads fitted on four fifths each.

    Raises:
        ValueError: the rows cannot make a head (the message says why).
    """
    # Here, not above: the service imports this module, only its worker process scikit-learn.
    from models.training.checks import check_rows
    from models.training.heads import train_head
    from models.training.report import calibration_report, evaluate
    from models.training.split import split_rows

    started = time.perf_counter()
    gathered, replaced = gather_rows(data)
    if len(np.unique(gathered.codes, axis=0)) < 2:
        raise ValueError("all examples have the same code")
    rows, notes = split_rows(gathered, data.kind, options.test_fraction, options.seed)
    train, test = rows.take(rows.side == TRAIN), rows.take(rows.side == TEST)
    if not len(train):
        raise ValueError("there are no rows to train on")
    trained = train_head(
        train.codes,
        train.targets,
        kind=data.kind,
        outputs=len(data.labels),
        head=options.head,
        class_weight=options.class_weight,
        names=data.names,
        seed=options.seed,
    )
    source, targets = "held_out" if data.test_codes is None else "given", test.targets
    calibration = None
    if len(test):
        scores = HeadStack([trained.head], [data.kind]).scores(test.codes)
        if trained.uncalibrated is not None and trained.temperature is not None:
            before = HeadStack([trained.uncalibrated], [data.kind]).scores(test.codes)
            calibration = calibration_report(
                before, scores, targets, data.kind, trained.temperature
            )
    elif trained.cross_fitted is not None:
        # Not calibrated on other rows than these, so nothing is said of the calibration.
        source = "cross_validated"
        scored, scores = trained.cross_fitted
        targets = train.targets[scored]
    else:
        source, scores = "none", np.zeros((0, len(data.labels)), dtype=np.float32)
    report = evaluate(
        scores,
        targets,
        train.targets,
        kind=data.kind,
        labels=data.labels,
        thresholds=trained.thresholds,
    )
    notes = check_rows(rows, data.kind, data.labels, options.class_weight) + notes
    report |= {
        "kind": data.kind,
        "head": trained.kind,
        "n_train": len(train),
        "n_test": len(targets),
        "test_source": source,
        "calibration": calibration,
        "base": None if data.base is None else {"rows": len(data.base), "replaced": replaced},
        "hyperparameters": trained.hyperparameters,
        "fit_seconds": time.perf_counter() - started,
    }
    report["warnings"] = notes + _score_warnings(report, len(train)) + trained.warnings
    reference = reference_of_rows(train.codes, trained.head, data.kind, len(data.labels))
    return TrainingResult(trained.head, trained.kind, trained.thresholds, report, rows, reference)


def gather_rows(data: TrainingData) -> tuple[ExampleRows, int]:
    """All rows of a job, those of its base first, and how many of the base were replaced.

    A new example with the code of one of the base's rows replaces it, as a corrected label does,
    and stays on its side.
    """
    new = ExampleRows.of(data.codes, data.targets)
    parts = [new]
    replaced = 0
    if data.base is not None:
        base = data.base
        known = {code.tobytes(): side for code, side in zip(base.codes, base.side, strict=True)}
        sides = [known.get(code.tobytes(), FREE) for code in new.codes]
        new = replace(new, side=np.array(sides, dtype=np.int8))
        again = {code.tobytes() for code in new.codes}
        kept = np.array([code.tobytes() not in again for code in base.codes], dtype=bool)
        replaced = int((~kept).sum())
        parts = [base.take(kept), new]
    if data.test_codes is not None and data.test_targets is not None:
        # With a test of its own, everything that is free is trained on.
        decided = np.where(new.side == FREE, TRAIN, new.side).astype(np.int8)
        given = ExampleRows.of(data.test_codes, data.test_targets, TEST, part=1)
        parts = [*parts[:-1], replace(new, side=decided), given]
    return join_rows([part for part in parts if len(part)]), replaced


def _score_warnings(report: dict[str, Any], trained: int) -> list[str]:
    if report["test_source"] == "none":
        return ["no row could be tested: a label needs two different texts for that"]
    notes = []
    gain, interval = report["gain_over_majority"], report["accuracy_interval"]
    if gain is not None and gain["low"] <= 0:
        notes.append(
            f"the test score, {report['accuracy']:.3f} (95% interval {interval[0]:.3f} to "
            f"{interval[1]:.3f}), is not clearly better than always giving the most frequent "
            f"answer ({report['majority_accuracy']:.3f})"
        )
    if report["test_source"] == "cross_validated":
        notes.append(
            "too few rows to hold any out: the report is cross-validated, the head is fitted on all"
            + (", thresholds were chosen on the same rows" if report["thresholds"] else "")
        )
        missing = trained - report["n_test"]
        if missing:
            notes.append(
                f"{missing} rows are the only text of their label: they could not be tested, and "
                "the score says nothing of those labels"
            )
    return notes
