"""What drift says of traffic like the training rows, and of foreign texts among it.

    python -m benchmarks.drift --data DATA [--codes FILE] [--draws 30]

DATA is a folder of tasks (TASK/{train,test}.jsonl.gz with meta.json); FILE keeps their codes for
another run. A draw takes half of a task's training rows for the reference; the other half are the
texts that do not differ. Foreign texts are the test rows of the seven other tasks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import DEFAULT_ENCODER
from benchmarks.labelled import TASKS, drawn
from benchmarks.machine import print_result
from models.bulk import encode_texts
from models.codes import Codes
from models.drift import measure_drift
from models.loading import load_encoder
from models.reference import Reference, count_ones, make_reference

TEXTS = (100, 300, 1_000)
SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
ROWS = 2_000  # of each split, half of them for a reference
NOTICED = 0.9  # of the draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default=str(DEFAULT_ENCODER))
    parser.add_argument("--codes", type=Path)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    codes = read_codes(arguments)
    random = np.random.default_rng(0)
    found = {}
    for task in TASKS:
        found[task] = measure(codes, task, arguments.draws, random)
        print(task, found[task], flush=True)
    print(table(found))
    print_result("drift", {"draws": arguments.draws, "tasks": found, "false_alarms": alarms(found)})


def read_codes(arguments: argparse.Namespace) -> dict[str, Codes]:
    """Different codes by `task.split`, in random order."""
    if arguments.codes and arguments.codes.exists():
        with np.load(arguments.codes) as kept:
            codes = {f"{t}.{s}": kept[f"{t}.{s}"] for t in TASKS for s in ("train", "test")}
    else:
        encoder = load_encoder(arguments.encoder, device="cpu", threads=arguments.threads)
        codes = {}
        for task in TASKS:
            for split in ("train", "test"):
                rows = drawn(arguments.data, task, split, ROWS)
                codes[f"{task}.{split}"] = encode_texts(encoder, rows.texts)
        if arguments.codes:
            np.savez(arguments.codes, **codes)
    return {name: np.random.default_rng(0).permutation(different(c)) for name, c in codes.items()}


def different(codes: Codes) -> Codes:
    return np.unique(codes, axis=0)


def measure(
    codes: dict[str, Codes], task: str, draws: int, random: np.random.Generator
) -> dict[str, Any]:
    """Median figures of a task by number of texts, over draws."""
    train, test = codes[f"{task}.train"], codes[f"{task}.test"]
    foreign = np.concatenate([codes[f"{other}.test"][:400] for other in TASKS if other != task])
    scores: dict[int, dict[str, list[float]]] = {n: {} for n in TEXTS}

    def note(reference: Reference, n: int, name: str, rows: Codes) -> float:
        drift = measure_drift(reference, count_ones(rows), len(rows))
        assert drift is not None
        scores[n].setdefault(name, []).append(drift.score)
        return drift.distance

    distances: dict[str, list[float]] = {"test": [], "foreign": []}
    for _ in range(draws):
        order = random.permutation(len(train))
        half = len(train) // 2
        reference, fresh = make_reference(train[order[:half]]), train[order[half:]]
        assert reference is not None
        for n in TEXTS:
            others = foreign[random.choice(len(foreign), n, replace=False)]
            # Up to a few fewer than `n`, where half of the training rows are not so many.
            note(reference, n, "fresh", fresh[:n])
            if len(test) >= n:
                rows = test[random.choice(len(test), n, replace=False)]
                distance = note(reference, n, "test", rows)
                if n == TEXTS[1]:
                    distances["test"].append(distance)
            for share in SHARES:
                count = round(n * share)
                rows = np.concatenate([others[:count], fresh[: max(0, n - count)]])
                distance = note(reference, n, f"{share}", rows)
                if share == 1.0 and n == TEXTS[1]:
                    distances["foreign"].append(distance)
    return {
        "distance": {name: median(values) for name, values in distances.items()},
        "texts": {str(n): summary(scores[n]) for n in TEXTS},
    }


def summary(scores: dict[str, list[float]]) -> dict[str, Any]:
    noticed = (share for share in SHARES if np.mean(np.array(scores[f"{share}"]) > 1) >= NOTICED)
    return {
        "test": median(scores.get("test", [])),
        "foreign": median(scores["1.0"]),
        "fresh": median(scores["fresh"]),
        "false_alarms": round(float(np.mean(np.array(scores["fresh"]) > 1)), 4),
        "smallest_share": next(noticed, None),
    }


def median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None


def alarms(found: dict[str, Any]) -> dict[str, float]:
    """The share of false alarms over all tasks."""
    by_texts = {
        str(n): [figures["texts"][str(n)]["false_alarms"] for figures in found.values()]
        for n in TEXTS
    }
    return {n: round(float(np.mean(values)), 4) for n, values in by_texts.items()}


def table(found: dict[str, Any]) -> str:
    """As Markdown: figures at 100 / 300 / 1000 texts."""
    lines = [
        "| task | fresh rows | test rows | foreign texts | distance: test, foreign "
        "| false alarms | smallest share noticed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task, figures in found.items():
        by_texts = figures["texts"].values()
        cells = [
            " / ".join("-" if one[name] is None else f"{one[name]:.2f}" for one in by_texts)
            for name in ("fresh", "test", "foreign", "false_alarms", "smallest_share")
        ]
        distance = ", ".join(
            "-" if value is None else f"{value:.2f}" for value in figures["distance"].values()
        )
        lines.append(f"| {task} | {' | '.join([*cells[:3], distance, *cells[3:]])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
