"""Expected calibration error before and after the temperature, on test rows.

    python -m benchmarks.calibration --data DATA [--encoder ARTIFACT]

DATA is a folder of tasks (TASK/{train,test}.jsonl.gz with meta.json). Heads are trained as the
service trains them, with few rows and with many; the temperature is fitted on cross-fitted
training rows, the error measured on the test rows. Beside it: isotonic regression of the answer's
confidence on the same cross-fitted rows, which a served head could not fold into its weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from app.settings import DEFAULT_ENCODER
from benchmarks.labelled import TASKS, drawn, labels_of
from benchmarks.machine import print_result
from models.bulk import encode_texts
from models.codes import Codes
from models.head_runtime import HeadStack
from models.loading import load_encoder
from models.training.calibration import expected_calibration_error, reliability
from models.training.heads import train_head

KINDS = ("before", "temperature", "isotonic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default=str(DEFAULT_ENCODER))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 1_000, 4_000])
    parser.add_argument("--test-rows", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder, device="cpu", threads=arguments.threads)
    found: dict[int, dict[str, dict[str, float]]] = {count: {} for count in arguments.rows}
    for task in arguments.tasks:
        train = drawn(arguments.data, task, "train", max(arguments.rows))
        test = drawn(arguments.data, task, "test", arguments.test_rows)
        codes, test_codes = encode_texts(encoder, train.texts), encode_texts(encoder, test.texts)
        labels = len(labels_of(arguments.data, task))
        for count in arguments.rows:
            figures = measure(
                codes[:count], train.targets[:count], test_codes, test.targets, labels
            )
            found[count][task] = figures
            print(task, min(count, len(train)), figures, flush=True)
    print(table(found))
    print_result(
        "calibration",
        {
            "encoder": encoder.info.profile,
            "rows": {
                str(count): {"mean": means(by_task), "tasks": by_task}
                for count, by_task in found.items()
            },
        },
    )


def measure(
    codes: Codes, targets: Any, test_codes: Codes, test_targets: Any, labels: int
) -> dict[str, float]:
    """A head's error on test rows without calibration, with ours, and with isotonic regression."""
    trained = train_head(codes, targets, kind="single_label", outputs=labels)
    assert trained.uncalibrated is not None
    scores = HeadStack([trained.head], ["single_label"]).scores(test_codes)
    before = HeadStack([trained.uncalibrated], ["single_label"]).scores(test_codes)
    right = scores.argmax(axis=1) == test_targets
    figures = {
        "accuracy": float(right.mean()),
        "before": error(before.max(axis=1), right),
        "temperature": error(scores.max(axis=1), right),
    }
    assert trained.cross_fitted is not None
    rows, crossed = trained.cross_fitted
    isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    isotonic.fit(crossed.max(axis=1), crossed.argmax(axis=1) == targets[rows])
    figures["isotonic"] = error(isotonic.predict(scores.max(axis=1)), right)
    return {name: round(value, 4) for name, value in figures.items()}


def error(confidence: Any, right: Any) -> float:
    """Expected calibration error."""
    return expected_calibration_error(reliability(confidence, right))


def means(by_task: dict[str, dict[str, float]]) -> dict[str, float]:
    """Over tasks."""
    names = next(iter(by_task.values()))
    return {
        name: round(float(np.mean([figures[name] for figures in by_task.values()])), 4)
        for name in names
    }


def table(found: dict[int, dict[str, dict[str, float]]]) -> str:
    """Errors by task and rows as Markdown."""
    lines = [
        "| task | " + " | ".join(f"{count} rows: {', '.join(KINDS)}" for count in found) + " |",
        "| --- |" + " --- |" * len(found),
    ]
    tasks = list(next(iter(found.values())))
    for task in [*tasks, "mean"]:
        cells = []
        for by_task in found.values():
            figures = means(by_task) if task == "mean" else by_task[task]
            cells.append(", ".join(f"{figures[kind]:.3f}" for kind in KINDS))
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
