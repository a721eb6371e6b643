"""How much frozen representations tell about tasks that their encoder never saw.

    python -m models.training.encoder.unseen --data DATA --fold 0 --cache FOLDER \
        --out result.json [--trained RUN/best ...]

One logistic regression a task, on the same rows for every representation: majority, TF-IDF,
floats and bits of the untrained backbone, of other backbones, and of each trained encoder. Its
strength is chosen on validation rows. Also from few examples a class, over several draws. Without
`--fold`, all tasks: for an encoder that was trained on them, beside what is fine-tuned for each.

Source: Du et al. (2020), section 4.2: heads on frozen codes of tasks outside the training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.training.datasets import SPLITS
from models.training.encoder.embedder import (
    Embedder,
    blended,
    calibration_texts,
    trained,
    untrained,
)
from models.training.encoder.probe import (
    Form,
    accuracy,
    bits_form,
    few_shot_accuracy,
    floats_form,
    majority,
    words_form,
)
from models.training.encoder.suite import TaskData, load_task, split_fold

FROZEN = "frozen"
ONE_LAYER = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=Path, help="gets a line a task: the last encoder's bits")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--backbone",
        nargs="*",
        default=[],
        metavar="BACKBONE@LAYERS",
        help="others as they come, such as a larger one",
    )
    parser.add_argument("--blend", type=float, nargs="*", default=[], help="see `blended`")
    parser.add_argument("--tasks", nargs="*", help="only these")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-rows", type=int, default=1500)
    parser.add_argument("--validation-rows", type=int, default=300)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--shots", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: Any = {
        "train": arguments.train_rows,
        "validation": arguments.validation_rows,
        "test": arguments.test_rows,
    }
    seen, unseen = split_fold(arguments.fold)
    calibration = calibration_texts(arguments.data, seen)
    models = {FROZEN: untrained()}
    for named in arguments.backbone:
        models[named.rpartition("/")[2]] = untrained(named)  # a folder's place is nobody's business
    for path in arguments.trained:
        models[path.parent.name] = trained(path)
        for share in arguments.blend:
            models[f"{path.parent.name} x {share}"] = blended(trained(path), share)
    encoders = {name: Embedder(model, arguments.cache) for name, model in models.items()}
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.tasks or unseen:
        task = load_task(arguments.data, name, rows)
        forms = forms_of(task, encoders, calibration)
        results[name] = measure(task, forms, arguments.shots, arguments.draws)
        print(name, json.dumps(results[name]["all"]), flush=True)
    means = means_of(results)
    arguments.out.write_text(json.dumps({"means": means, "tasks": results}, indent=1) + "\n")
    if arguments.lines:
        arguments.lines.write_text(lines_of(results, f"{list(encoders)[-1]} bits"))
    print(json.dumps(means))


def forms_of(
    task: TaskData, encoders: Mapping[str, Embedder], calibration: Sequence[str]
) -> dict[str, Form]:
    """One task's rows in every representation."""
    forms = {"tfidf": words_form(task)}
    for name, embed in encoders.items():
        thresholds = np.median(embed(calibration), axis=0)
        parts = [embed(task.splits[split].texts) for split in SPLITS]
        if name == FROZEN:
            last = [part[:, -ONE_LAYER:] for part in parts]
            forms["frozen last layer, floats"] = floats_form(last)
            forms["frozen last layer, signs"] = bits_form(last, 0.0)
        forms[f"{name} floats"] = floats_form(parts)
        forms[f"{name} bits"] = bits_form(parts, thresholds)
    return forms


def measure(
    task: TaskData, forms: Mapping[str, Form], shots: Sequence[int], draws: int
) -> dict[str, dict[str, float]]:
    """Test accuracy in percent, by number of rows (all, or so many a class) and representation."""
    targets = {split: rows.targets for split, rows in task.splits.items()}
    everything = np.arange(len(targets["train"]))
    results = {
        "all": {"majority": majority(targets["train"], targets["test"])}
        | {name: accuracy(form, targets, everything) for name, form in forms.items()}
    }
    for count in shots:
        results[str(count)] = {
            name: few_shot_accuracy(form, targets, count, draws) for name, form in forms.items()
        }
    return results


def lines_of(results: Mapping[str, Mapping[str, Mapping[str, float]]], form: str) -> str:
    """A line a task as other trainings write them (`results.read_lines`): one representation's."""
    lines = (
        {"task": task, "test_accuracy": by["all"][form], "representation": form}
        for task, by in results.items()
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


def means_of(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Means over tasks."""
    first = next(iter(results.values()))
    return {
        rows: {
            name: round(float(np.mean([by[rows][name] for by in results.values()])), 2)
            for name in first[rows]
        }
        for rows in first
    }


if __name__ == "__main__":
    main()
