"""Train one encoder over many tasks. Resumable: run the same command again.

    python -m models.training.encoder.train --data DATA --out RUN --fold 0 --steps 3000

`--fold` leaves that fold's groups of tasks out; without it all tasks are trained on. RUN gets
`log.jsonl`, `state.pt` (to go on from) and `best/` (the weights with the best mean validation
accuracy, for `models.training.encoder.unseen`).

Source: Du et al. (2020), section 3: one head a task, all tasks in one run, the quantizer in the
loop.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.artifact import resolve_backbone
from models.tokenization import TextTokenizer
from models.training.backbones import SHIPPED, parse_backbone
from models.training.encoder.batches import pad
from models.training.encoder.heads_first import fit_heads
from models.training.encoder.loop import STATE, Embeddings, Plan, Trainer, TrainingTask
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.suite import TaskData, load_task, split_fold
from models.training.encoder.teachers import Teacher, open_teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="of the teacher's embeddings")
    parser.add_argument(
        "--teacher",
        nargs="*",
        default=[],
        metavar="BACKBONE@LAYERS",
        help="encoders to keep readable beside the untrained one; also folders of artifacts",
    )
    parser.add_argument("--backbone", default=SHIPPED, metavar="BACKBONE@LAYERS")
    parser.add_argument("--threads", type=int, default=2, help="two runs of one are faster yet")
    parser.add_argument("--fold", type=int)
    parser.add_argument("--bits", type=int)
    parser.add_argument("--estimator", default="clipped")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--frozen-layers", type=int, default=0)
    parser.add_argument("--adapter-rank", type=int, default=0, help="LoRA; 0: all weights")
    defaults = Plan()
    for name, value in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = replace(defaults, **{name: getattr(arguments, name) for name in asdict(defaults)})
    backbone, layers = parse_backbone(arguments.backbone)
    design = Design(
        resolve_backbone(backbone),
        layers,
        bits=arguments.bits,
        estimator=arguments.estimator,
        noise=arguments.noise,
        frozen_layers=arguments.frozen_layers,
        adapter_rank=arguments.adapter_rank,
    )
    teachers = [
        open_teacher(named, arguments.cache, plan.max_tokens, arguments.threads)
        for named in (arguments.backbone, *arguments.teacher)
    ]
    tasks = []
    for name in split_fold(arguments.fold)[0]:
        task = load_task(arguments.data, name, _rows(plan))
        taught = teach(task.splits["train"].texts, teachers) if plan.keep else None
        tasks.append(tokenize(task, taught, design, plan))
    train(design, plan, tasks, arguments.out)


def train(
    design: Design, plan: Plan, tasks: Sequence[TrainingTask], out: Path, *, quiet: bool = False
) -> None:
    """Heads first where the plan says so, then all; or on from where an earlier run stopped.

    Args:
        design: of the network.
        plan: of the training.
        tasks: what it is trained on.
        out: folder of the log, the state and the best weights.
        quiet: write the log, but do not print it.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = encoder_for(design, tasks, plan.seed)
    if plan.head_steps and not (out / STATE).is_file():
        fit_heads(model, tasks, plan, pad)
    Trainer(model, plan, tasks, pad, out, quiet=quiet).run()


def teach(texts: Sequence[str], teachers: Sequence[Teacher]) -> Embeddings:
    """What the teachers make of texts, side by side: `(n, width)` float16."""
    embeddings: Embeddings = np.concatenate(
        [embed(texts).astype(np.float16) for embed in teachers], axis=1
    )
    return embeddings


def _rows(plan: Plan) -> Any:
    return {"train": plan.train_rows, "validation": plan.validation_rows}


def encoder_for(design: Design, tasks: Sequence[TrainingTask], seed: int) -> MultiTaskEncoder:
    """The network at its start, with a head for every task."""
    torch.manual_seed(seed)
    taught = next((task.taught for task in tasks if task.taught is not None), None)
    keeps = 0 if taught is None else taught.shape[1]
    return MultiTaskEncoder(design, {task.name: task.classes for task in tasks}, keeps)


def tokenize(task: TaskData, taught: Embeddings | None, design: Design, plan: Plan) -> TrainingTask:
    """Token ids of a task's rows."""
    tokenizer = TextTokenizer(Path(design.backbone) / "tokenizer.json", plan.max_tokens)
    train, validation = task.splits["train"], task.splits["validation"]
    return TrainingTask(
        task.name,
        [one.windows[0] for one in tokenizer(train.texts)],
        train.targets,
        taught,
        [one.windows[0] for one in tokenizer(validation.texts)],
        validation.targets,
        len(task.labels),
    )


if __name__ == "__main__":
    main()
