"""A head on labelled rows that came later, run in a worker process: a report as at its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.example_rows import TRAIN, ExampleRows
from models.head_runtime import Head, HeadKind, HeadStack, TaskKind


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """A head and rows.

    Attributes:
        kind: of the task.
        head_kind: of the head.
        labels: names of its outputs.
        head: the weights.
        thresholds: multi label: as they are set.
        codes: `(n, bits // 8)` uint8.
        targets: as `models.training.heads.train_head` takes them.
        rows: that the head was made from, where they are stored.
    """

    kind: TaskKind
    head_kind: HeadKind
    labels: list[str]
    head: Head
    thresholds: tuple[float, ...] | None
    codes: Codes
    targets: NDArray[Any]
    rows: ExampleRows | None


def evaluate_rows(data: EvaluationData) -> dict[str, Any]:
    """The report, JSON-ready."""
    # Here, not above: the service imports this module, only its worker process scikit-learn.
    from models.training.report import calibration_report, evaluate

    scores = HeadStack([data.head], [data.kind]).scores(data.codes)
    trained = None if data.rows is None else data.rows.take(data.rows.side == TRAIN)
    report = evaluate(
        scores,
        data.targets,
        # Without stored rows, the most frequent answer is that of these rows themselves.
        data.targets if trained is None else trained.targets,
        kind=data.kind,
        labels=data.labels,
        thresholds=data.thresholds,
    )
    if data.kind != "regression":
        calibration = calibration_report(scores, scores, data.targets, data.kind, 1.0)
        report["calibration"] = calibration | {"method": "as_served"}
    return report | {
        "kind": data.kind,
        "head": data.head_kind,
        "n_train": 0 if trained is None else len(trained),
        "n_test": len(data.targets),
        "test_source": "given",
        "warnings": _warnings(data.codes, trained),
    }


def _warnings(codes: Codes, trained: ExampleRows | None) -> list[str]:
    if trained is None:
        return ["the version was stored without its rows: whether these are among them is unknown"]
    known = {code.tobytes() for code in trained.codes}
    seen = np.array([code.tobytes() in known for code in codes], dtype=bool)
    if not seen.any():
        return []
    shown = ", ".join(map(str, np.flatnonzero(seen)[:10].tolist()))
    return [
        f"{seen.sum()} of {len(codes)} rows are also trained on, so the score flatters: rows "
        f"{shown}{', …' if seen.sum() > 10 else ''}"
    ]
