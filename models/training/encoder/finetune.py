"""Fine-tune a backbone for each task alone: the upper mark, and the teachers of the students.

    python -m models.training.encoder.finetune --data DATA --out RUN [--tasks trec6 sst2 ...]

All weights are trained, with a linear layer on the mean of the last layer. RUN gets
`finetuned.jsonl`, one line a task, and `teachers/TASK.npy`, the logits on the training rows, for
`models.training.encoder.distill`. Tasks that have a line are skipped: run it again to go on. Of
several `--rates` the one with the best validation is kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.artifact import resolve_backbone
from models.training.backbones import BACKBONE
from models.training.encoder.classifier import (
    ClassifierTask,
    RowLimits,
    TextClassifier,
    load_backbone,
    quiet,
    read_task,
)
from models.training.encoder.fitting import Fit, FitPlan, Loss, Rows, fit, outputs_of
from models.training.encoder.results import TaskResults
from models.training.encoder.suite import GROUPS, tasks_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RESULTS, TEACHERS = "finetuned.jsonl", "teachers"
Options = TypeVar("Options", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A fine-tuned network, how its training went, and how long all rates took together."""

    network: TextClassifier
    fit: Fit
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", help="all by default")
    parser.add_argument("--rates", type=float, nargs="+", default=[FitPlan().rate])
    add_options(parser, RowLimits())
    add_options(parser, FitPlan(), without=["rate"])
    arguments = parser.parse_args()
    quiet()
    plan, limits = options_in(arguments, FitPlan()), options_in(arguments, RowLimits())
    finetune(
        arguments.data,
        arguments.out,
        arguments.tasks or tasks_of(tuple(GROUPS)),
        Path(resolve_backbone(BACKBONE)),
        plan,
        limits,
        arguments.rates,
    )


def finetune(
    data: Path,
    out: Path,
    tasks: Iterable[str],
    backbone: Path,
    plan: FitPlan,
    limits: RowLimits,
    rates: Iterable[float],
) -> TaskResults:
    """Fine-tune every task that has no result yet."""
    rates = list(rates)
    settings = {"plan": asdict(plan), "limits": asdict(limits), "rates": rates}
    results = TaskResults(out / RESULTS, settings)
    (out / TEACHERS).mkdir(parents=True, exist_ok=True)
    for name in tasks:
        if name in results:
            continue
        task = read_task(data, name, backbone / "tokenizer.json", limits)
        teacher = best_teacher(task, backbone, plan, rates)
        # First the logits: a task with a line is done.
        np.save(logits_path(out, name), outputs_of(teacher.network, task.ids["train"]))
        results.add(name, result_of(task, teacher.network, teacher.fit, teacher.seconds))
        note(results, name)
    return results


def best_teacher(
    task: ClassifierTask, backbone: Path, plan: FitPlan, rates: Iterable[float]
) -> Teacher:
    """Fine-tune with each rate; the best on validation rows, with the time of all.

    Raises:
        ValueError: there is no rate.
    """
    best: Teacher | None = None
    seconds = 0.0
    for rate in rates:
        torch.manual_seed(plan.seed)
        network = TextClassifier(load_backbone(backbone), len(task.labels))

        def score(network: TextClassifier = network) -> float:
            return task.accuracy(network, "validation")

        fitted = fit(
            network,
            task.ids["train"],
            hard_loss(task.targets["train"]),
            replace(plan, rate=rate),
            score,
        )
        seconds += fitted.seconds
        if best is None or fitted.score > best.fit.score:
            best = Teacher(network, fitted, 0.0)
    if best is None:
        raise ValueError("no rate of learning to fine-tune with")
    return replace(best, seconds=seconds)


def hard_loss(targets: Rows) -> Loss:
    """Cross entropy with the labels, summed over rows."""

    def loss(outputs: Tensor, rows: Rows) -> Tensor:
        wanted = torch.from_numpy(targets[rows]).to(outputs.device)
        return functional.cross_entropy(outputs, wanted, reduction="sum")

    return loss


def result_of(
    task: ClassifierTask, network: TextClassifier, fitted: Fit, seconds: float
) -> dict[str, Any]:
    """What a results file says of one task; accuracies in percent."""
    return {
        "classes": len(task.labels),
        "train_rows": len(task.ids["train"]),
        "test_rows": len(task.ids["test"]),
        "validation_accuracy": fitted.score,
        "test_accuracy": task.accuracy(network, "test"),
        "rate": fitted.rate,
        "best_epoch": fitted.best_epoch,
        "epochs": fitted.epochs,
        "train_seconds": round(seconds, 1),
    }


def logits_path(out: Path, task: str) -> Path:
    """Where a teacher's logits on its training rows lie."""
    return out / TEACHERS / f"{task}.npy"


def note(results: TaskResults, task: str) -> None:
    """Say how one task went."""
    line = {name: value for name, value in results.lines[task].items() if name != "settings"}
    print(json.dumps(line), flush=True)


def add_options(
    parser: argparse.ArgumentParser, defaults: Options, without: Iterable[str] = ()
) -> None:
    """An option for every field, with its default."""
    for field in fields(defaults):
        if field.name not in without:
            value = getattr(defaults, field.name)
            option = f"--{field.name.replace('_', '-')}"
            parser.add_argument(option, type=type(value), default=value)


def options_in(arguments: argparse.Namespace, defaults: Options) -> Options:
    """The fields that were given as options."""
    given = {f.name: vars(arguments)[f.name] for f in fields(defaults) if f.name in arguments}
    return replace(defaults, **given)


if __name__ == "__main__":
    main()
