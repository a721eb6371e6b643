"""Quantizers beside each other, learned on embeddings that stay as they are.

    python -m models.training.encoder.quantizers --data DATA --fold 0 --cache FOLDER \
        --out result.json [--trained RUN/best] [--bits 128 512 1536] [--estimators clipped tanh]

A projection to so many bits and a head for every seen task are trained through the bits; what a
head can read from them is then measured on tasks outside the training. No pass of the backbone is
repeated, so widths, estimators and seeds cost seconds each. Beside them: thresholds alone on the
embedding's own dimensions, and on a random rotation of them.

Source: Du et al. (2020), section 3.2, and their tables over code sizes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.datasets import SPLITS
from models.training.encoder.embedder import (
    Embedder,
    Floats,
    calibration_texts,
    trained,
    untrained,
)
from models.training.encoder.loop import Plan, Trainer, TrainingTask
from models.training.encoder.model import Design, MultiTaskCode
from models.training.encoder.probe import Score, mean_scores
from models.training.encoder.suite import TaskData, load_task, split_fold

SEEN_ROWS: Any = {"train": 2000, "validation": 200}
UNSEEN_ROWS: Any = {"train": 1500, "validation": 300, "test": 1000}
PLAN = Plan(
    steps=1200,
    texts=256,
    at_once=256,
    head_rate=2e-3,
    exponent=0.5,
    check_every=400,
    patience=3,
)


@dataclass(frozen=True, slots=True)
class Scale:
    """Puts each dimension of embeddings at mean 0 and variance 1."""

    mean: Floats
    deviation: Floats

    def __call__(self, raw: Floats) -> Floats:
        return (raw - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class UnseenTask:
    """Embeddings and targets of a task outside the training, by split."""

    name: str
    embeddings: dict[str, Floats]
    targets: dict[str, NDArray[np.int64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--tasks", nargs="*", help="only these of the unseen ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bits", type=int, nargs="*", default=[128, 256, 512, 1024, 1536, 3072])
    parser.add_argument("--estimators", nargs="*", default=["clipped"])
    parser.add_argument("--noises", type=float, nargs="*", default=[0.1])
    parser.add_argument("--keeps", type=float, nargs="*", default=[1.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = untrained() if arguments.trained is None else trained(arguments.trained)
    embed = Embedder(model, arguments.cache)
    seen, unseen = split_fold(arguments.fold)
    calibration = embed(calibration_texts(arguments.data, seen))
    scale = Scale(calibration.mean(axis=0), calibration.std(axis=0) + 1e-3)
    tasks = [seen_task(load_task(arguments.data, name, SEEN_ROWS), embed, scale) for name in seen]
    judges = [
        unseen_task(load_task(arguments.data, name, UNSEEN_ROWS), embed, scale)
        for name in arguments.tasks or unseen
    ]
    results = baselines(judges, scale(calibration))
    print(json.dumps(results), flush=True)
    for bits in arguments.bits:
        for estimator in arguments.estimators:
            for noise in arguments.noises:
                for keep in arguments.keeps:
                    name = f"{bits} bits, {estimator}, noise {noise:g}, keep {keep:g}"
                    plan = replace(PLAN, steps=arguments.steps, keep=keep)
                    design = Design("", bits=bits, estimator=estimator, noise=noise)
                    for seed in range(arguments.seeds):
                        code = learn(design, replace(plan, seed=seed), tasks)
                        score = judge(code, judges, scale(calibration))
                        results.setdefault(name, []).append(score)
                    print(json.dumps({name: results[name]}), flush=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def seen_task(task: TaskData, embed: Embedder, scale: Scale) -> TrainingTask:
    """A task to train on: its rows are embeddings, and they are their own teacher."""
    train, validation = task.splits["train"], task.splits["validation"]
    embeddings = scale(embed(train.texts))
    return TrainingTask(
        task.name,
        embeddings,
        train.targets,
        embeddings.astype(np.float16),
        scale(embed(validation.texts)),
        validation.targets,
        len(task.labels),
    )


def unseen_task(task: TaskData, embed: Embedder, scale: Scale) -> UnseenTask:
    """A task to judge by."""
    return UnseenTask(
        task.name,
        {split: scale(embed(rows.texts)) for split, rows in task.splits.items()},
        {split: rows.targets for split, rows in task.splits.items()},
    )


def stack(rows: Sequence[Floats]) -> tuple[Tensor, ...]:
    """Embeddings of one pass, `(b, width)`."""
    return (torch.from_numpy(np.stack(rows)),)


def learn(design: Design, plan: Plan, tasks: Sequence[TrainingTask]) -> MultiTaskCode:
    """A projection, trained through its bits over the seen tasks."""
    torch.manual_seed(plan.seed)
    width = tasks[0].train[0].shape[0]
    keeps = width if plan.keep else 0
    classes = {task.name: task.classes for task in tasks}
    code = MultiTaskCode(design, width, classes, keeps)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(code, plan, tasks, stack, Path(folder), quiet=True).run()
    return code.cpu().eval()


def judge(code: MultiTaskCode, judges: Sequence[UnseenTask], calibration: Floats) -> Score:
    """What linear heads on unseen tasks read from a projection, and from its bits."""

    @torch.inference_mode()
    def project(values: Floats) -> Floats:
        projected: Floats = code.project(torch.from_numpy(values)).numpy()
        return projected

    return mean_accuracies(project, judges, calibration)


def mean_accuracies(
    project: Callable[[Floats], Floats], judges: Sequence[UnseenTask], calibration: Floats
) -> Score:
    """The same of any map of embeddings, whose values are cut at their medians."""
    thresholds = np.median(project(calibration), axis=0)
    return mean_scores(
        (([project(task.embeddings[split]) for split in SPLITS], task.targets) for task in judges),
        thresholds,
    )


def baselines(judges: Sequence[UnseenTask], calibration: Floats) -> dict[str, list[Score]]:
    """The dimensions of the embeddings as they are, and a rotation of them."""
    width = calibration.shape[1]
    normal = np.random.default_rng(0).normal(size=(width, width))
    rotation = np.linalg.qr(normal)[0].astype(np.float32)
    return {
        "own dimensions": [mean_accuracies(lambda values: values, judges, calibration)],
        "rotated": [mean_accuracies(lambda values: values @ rotation, judges, calibration)],
    }


if __name__ == "__main__":
    main()
