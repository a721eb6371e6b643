"""Poolings and layers beside each other, over a backbone that stays as it is.

    python -m models.training.encoder.poolings --data DATA --fold 0 --cache FOLDER \
        --out result.json [--poolings mean attention] [--layers last four] [--seeds 3]

Every way of pooling is brought to the same number of bits by a projection that is trained, with the
pooling's own weights, through the bits over the seen tasks. What a linear head then reads from the
bits is measured on tasks outside the training. Hidden states are computed once and kept.

Source: Du et al. (2020), section 3.1 and their table over poolings and layers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.packing import round_up
from models.training.datasets import SPLITS
from models.training.encoder.batches import by_length
from models.training.encoder.embedder import Floats, calibration_texts, untrained
from models.training.encoder.hidden import HiddenStates, States
from models.training.encoder.loop import Plan, Trainer, TrainingTask
from models.training.encoder.model import Design, MultiTaskCode
from models.training.encoder.pooler import Pooler
from models.training.encoder.probe import Score, mean_scores
from models.training.encoder.suite import TaskData, load_task, split_fold

SEEN_ROWS: Any = {"train": 600, "validation": 100}
UNSEEN_ROWS: Any = {"train": 1000, "validation": 300, "test": 600}
PLAN = Plan(
    steps=400, texts=128, at_once=128, head_rate=2e-3, keep=0.0, check_every=400, patience=2
)
LAYERS: dict[str, tuple[tuple[int, ...], bool]] = {
    "last": ((-1,), False),
    "last two": ((-2, -1), False),
    "last four": ((-4, -3, -2, -1), False),
    "all": ((0, 1, 2, 3, 4, 5, 6), False),
    "learned mix of all": ((0, 1, 2, 3, 4, 5, 6), True),
}
POOLINGS = ("first", "mean", "max", "first-4", "attention")
EMBED_AT_ONCE = 64


class PooledCode(MultiTaskCode):
    """Hidden states to bits: pooling, projection, and a head for every task."""

    def __init__(
        self, design: Design, hidden_size: int, classes: dict[str, int], keeps: int = 0
    ) -> None:
        pooler = Pooler(design.pooling, design.layers, mixed=design.mixed, hidden_size=hidden_size)
        super().__init__(design, pooler.width, classes, keeps)
        self.pooler = pooler

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`(b, layers, s, d)` states and `(b, s)` mask to floats and bits, `(b, width)` each."""
        return super().forward(self.pooler(states.unbind(dim=1), mask))

    @torch.inference_mode()
    def embed(self, rows: Sequence[States]) -> Floats:
        """What is cut at thresholds, `(n, width)`."""
        result = np.zeros((len(rows), self.width), dtype=np.float32)
        for some in by_length(rows, EMBED_AT_ONCE):
            states, mask = stack_states([rows[i] for i in some])
            pooled = self.pooler(states.unbind(dim=1), mask)
            result[some] = self.project(pooled).numpy()
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", help="only these of the unseen ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bits", type=int, default=768)
    parser.add_argument("--poolings", nargs="*", default=list(POOLINGS), choices=POOLINGS)
    parser.add_argument("--layers", nargs="*", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    hidden = HiddenStates(untrained(), arguments.cache)
    seen, unseen = split_fold(arguments.fold)
    calibration = hidden(calibration_texts(arguments.data, seen)[:: len(seen)])
    tasks = [seen_task(load_task(arguments.data, name, SEEN_ROWS), hidden) for name in seen]
    judges = [load_task(arguments.data, name, UNSEEN_ROWS) for name in arguments.tasks or unseen]
    plan = replace(PLAN, steps=arguments.steps)
    results: dict[str, list[Score]] = {}
    for pooling in arguments.poolings:
        for layers in arguments.layers:
            chosen, mixed = LAYERS[layers]
            design = Design("", layers=chosen, pooling=pooling, mixed=mixed, bits=arguments.bits)
            name = f"{pooling}, {layers}"
            for seed in range(arguments.seeds):
                code = learn(design, replace(plan, seed=seed), tasks)
                results.setdefault(name, []).append(judge(code, judges, hidden, calibration))
            print(json.dumps({name: results[name]}), flush=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def seen_task(task: TaskData, hidden: HiddenStates) -> TrainingTask:
    """A task to train on: its rows are hidden states."""
    train, validation = task.splits["train"], task.splits["validation"]
    return TrainingTask(
        task.name,
        hidden(train.texts),
        train.targets,
        None,
        hidden(validation.texts),
        validation.targets,
        len(task.labels),
    )


def stack_states(rows: Sequence[States]) -> tuple[Tensor, Tensor]:
    """States `(s, layers, d)` of some texts to `(b, layers, s, d)` and their mask `(b, s)`."""
    longest = round_up(max(len(row) for row in rows), 8)
    states = np.zeros((len(rows), rows[0].shape[1], longest, rows[0].shape[2]), dtype=np.float32)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for at, row in enumerate(rows):
        states[at, :, : len(row)] = row.swapaxes(0, 1)
        mask[at, : len(row)] = 1
    return torch.from_numpy(states), torch.from_numpy(mask)


def learn(design: Design, plan: Plan, tasks: Sequence[TrainingTask]) -> PooledCode:
    """Pooling and projection, trained through the bits over the seen tasks."""
    torch.manual_seed(plan.seed)
    hidden_size = tasks[0].train[0].shape[-1]
    code = PooledCode(design, hidden_size, {task.name: task.classes for task in tasks})
    with tempfile.TemporaryDirectory() as folder:
        Trainer(code, plan, tasks, stack_states, Path(folder), quiet=True).run()
    return code.cpu().eval()


def judge(
    code: PooledCode,
    judges: Sequence[TaskData],
    hidden: HiddenStates,
    calibration: Sequence[States],
) -> Score:
    """What linear heads on unseen tasks read from the projected floats, and from their bits."""
    thresholds = np.median(code.embed(calibration), axis=0)
    return mean_scores(
        (
            (
                [code.embed(hidden(task.splits[split].texts)) for split in SPLITS],
                {split: rows.targets for split, rows in task.splits.items()},
            )
            for task in judges
        ),
        thresholds,
    )


if __name__ == "__main__":
    main()
