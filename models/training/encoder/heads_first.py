"""The heads before the backbone: what they can learn from the untrained encoder's embeddings.

Heads that start at nothing send large and random gradients into the backbone, which bends what it
knew before there was a reason to; tasks outside the training pay for it. Heads that already read
the untrained embeddings as well as they can ask for less.

Source: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution" (2022), section 4: linear probing, then fine-tuning.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.training.encoder.fitting import this_hardware
from models.training.encoder.loop import Collate, Embeddings, Plan, Trainer, TrainingTask
from models.training.encoder.model import MultiTaskCode, MultiTaskEncoder

TEXTS = 256
CHECKED_ROWS = 50
STATISTICS_ROWS = 20  # of each task
AT_ONCE = 32


def fit_heads(
    model: MultiTaskEncoder, tasks: Sequence[TrainingTask], plan: Plan, collate: Collate
) -> None:
    """Train heads, projection and the regression to the teacher on the teacher's embeddings.

    Args:
        model: at its start; its backbone is not changed.
        tasks: with what the untrained encoder makes of their rows, and then other teachers.
        plan: of the training; `head_steps` of it are done here.
        collate: rows to the tensors that the model takes.

    Raises:
        ValueError: the teacher's embeddings are of another width than the model's.
    """
    widths = {0 if task.taught is None else task.taught.shape[1] for task in tasks}
    if min(widths) < model.pooler.width or len(widths) != 1:
        raise ValueError(f"heads first needs embeddings {model.pooler.width} wide of all tasks")
    classes = {task.name: task.classes for task in tasks}
    keeps = max(widths) if model.to_teacher is not None else 0
    code = MultiTaskCode(model.design, model.pooler.width, classes, keeps)
    code.project.load_state_dict(model.project.state_dict())
    alone = replace(
        plan,
        average=0.0,
        steps=plan.head_steps,
        texts=TEXTS,
        at_once=TEXTS,
        check_every=plan.head_steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = [_on_embeddings(task, model.pooler.width) for task in tasks]
        Trainer(code, alone, rows, _stack, Path(folder), quiet=True).run()
    learned = {
        name: value
        for name, value in code.state_dict().items()
        if name.startswith(("heads.", "to_teacher.", "project."))
    }
    model.load_state_dict(learned, strict=False)
    _measure_statistics(model, tasks, collate)


def _on_embeddings(task: TrainingTask, width: int) -> TrainingTask:
    assert task.taught is not None
    own: Embeddings = task.taught[:, :width]
    some = own[:CHECKED_ROWS]
    return TrainingTask(
        task.name,
        own,
        task.targets,
        task.taught,
        some,
        task.targets[: len(some)],
        task.classes,
    )


def _stack(rows: Sequence[Embeddings]) -> tuple[Tensor, ...]:
    return (torch.from_numpy(np.stack(rows).astype(np.float32)),)


@torch.no_grad()
def _measure_statistics(
    model: MultiTaskEncoder, tasks: Sequence[TrainingTask], collate: Collate
) -> None:
    """Mean and variance of the backbone's own dimensions: the teacher's have another origin."""
    rows = [row for task in tasks for row in task.train[:STATISTICS_ROWS]]
    rows.sort(key=len)
    device = this_hardware().device
    model.to(device)
    raw = torch.cat(
        [
            model.project(
                model.pooled(
                    *(tensor.to(device) for tensor in collate(rows[start : start + AT_ONCE]))
                )
            )
            for start in range(0, len(rows), AT_ONCE)
        ]
    )
    standardize = model.standardize
    standardize.mean.copy_(raw.mean(dim=0))
    standardize.variance.copy_(raw.var(dim=0))
    # As many batches' worth as the running statistics remember.
    standardize.batches.fill_(round(1 / standardize.momentum))
