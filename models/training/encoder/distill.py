"""Knowledge distillation: a small student a task, taught by that task's fine-tuned teacher.

    python -m models.training.encoder.distill --data DATA --out RUN --cache FOLDER

RUN is that of `models.training.encoder.finetune`, whose rows and teachers it takes. It gets
`students/SIZE/`, a student that has learned the backbone's embeddings over all tasks' texts (no
label is looked at), and `distilled-SIZE.jsonl`, one line a task. What is there is skipped: run it
again to go on. At the end it prints the mean test accuracy of teachers and students.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.artifact import resolve_backbone
from models.tokenization import TextTokenizer
from models.tokens import Ids
from models.training.backbones import BACKBONE
from models.training.encoder.classifier import (
    ClassifierTask,
    RowLimits,
    TextClassifier,
    load_backbone,
    quiet,
    read_task,
)
from models.training.encoder.embedder import Embedder, untrained
from models.training.encoder.finetune import (
    RESULTS,
    add_options,
    logits_path,
    note,
    options_in,
    result_of,
)
from models.training.encoder.fitting import Fit, FitPlan, Rows, fit
from models.training.encoder.results import TaskResults, mean_accuracies, read_lines
from models.training.encoder.students import ABOUT, STUDENTS, distill_generally, is_done
from models.training.encoder.suite import GROUPS, load_task, tasks_of

# Students take less time a text than teachers, and need more epochs.
PLAN = FitPlan(epochs=6, least_steps=600, patience=3)
GENERAL_PLAN = FitPlan(epochs=1, least_steps=0)


@dataclass(frozen=True, slots=True)
class Softness:
    """Of the targets.

    Attributes:
        temperature: divides the logits of both, so that the teacher's lesser guesses are seen.
        share: of the loss on the teacher's guesses; the rest is on the labels.
    """

    temperature: float = 2.0
    share: float = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="of the backbone's embeddings")
    parser.add_argument("--tasks", nargs="*", help="all that have a teacher by default")
    parser.add_argument("--students", nargs="+", choices=list(STUDENTS), default=list(STUDENTS))
    parser.add_argument("--general-rows", type=int, default=4000, help="of every task")
    add_options(parser, Softness())
    add_options(parser, PLAN, without=["rate"])
    arguments = parser.parse_args()
    quiet()
    out: Path = arguments.out
    if not (out / RESULTS).is_file():
        parser.error(f"{out} has no {RESULTS}: run models.training.encoder.finetune first")
    teachers = {line["task"]: line for line in read_lines(out / RESULTS)}
    limits = RowLimits(**next(iter(teachers.values()))["settings"]["limits"])
    backbone = Path(resolve_backbone(BACKBONE))
    folders = {name: out / "students" / name for name in arguments.students}
    missing = {name: folder for name, folder in folders.items() if not is_done(folder)}
    if missing:
        rows, embeddings = plain_texts(arguments, backbone / "tokenizer.json", limits.max_tokens)
        for name, folder in missing.items():
            distill_generally(STUDENTS[name], backbone, rows, embeddings, GENERAL_PLAN, folder)
    for name, folder in folders.items():
        distill(
            arguments.data,
            out,
            arguments.tasks or list(teachers),
            folder,
            replace(options_in(arguments, PLAN), rate=STUDENTS[name].rate),
            limits,
            options_in(arguments, Softness()),
        )
    files = {"fine-tuned": out / RESULTS} | {name: results_path(out, name) for name in folders}
    means, tasks = mean_accuracies(files)
    print(json.dumps({"tasks": tasks, "mean_test_accuracy": means}))


def plain_texts(
    arguments: argparse.Namespace, tokenizer: Path, max_tokens: int
) -> tuple[list[Ids], list[NDArray[np.float16]]]:
    """Token ids of all tasks' training texts, and the backbone's embeddings of them."""
    tokenize = TextTokenizer(tokenizer, max_tokens)
    embed = Embedder(untrained(), arguments.cache, max_tokens)
    rows: list[Ids] = []
    embeddings: list[NDArray[np.float16]] = []
    for name in tasks_of(tuple(GROUPS)):
        task = load_task(arguments.data, name, {"train": arguments.general_rows})
        texts = task.splits["train"].texts
        rows += [one.windows[0] for one in tokenize(texts)]
        embeddings += list(embed(texts).astype(np.float16))
    return rows, embeddings


def distill(
    data: Path,
    out: Path,
    tasks: Iterable[str],
    student: Path,
    plan: FitPlan,
    limits: RowLimits,
    softness: Softness,
) -> TaskResults:
    """Distil every task that has no result yet into a student of its own.

    Args:
        data: folder of tasks.
        out: folder of the run, with the teachers' logits.
        tasks: which.
        student: folder of the student that all tasks' students start from.
        plan: see `FitPlan`.
        limits: those of the teachers.
        softness: see `Softness`.
    """
    about = json.loads((student / ABOUT).read_text())
    settings = {
        "plan": asdict(plan),
        "limits": asdict(limits),
        "softness": asdict(softness),
        "general_texts": about["texts"],
    }
    results = TaskResults(results_path(out, student.name), settings)
    for name in tasks:
        if name in results:
            continue
        task = read_task(data, name, student / "tokenizer.json", limits)
        network, fitted = distill_task(
            task, np.load(logits_path(out, name)), student, plan, softness
        )
        results.add(name, result_of(task, network, fitted, fitted.seconds))
        note(results, name)
    return results


def distill_task(
    task: ClassifierTask,
    teacher: NDArray[np.float32],
    student: Path,
    plan: FitPlan,
    softness: Softness,
) -> tuple[TextClassifier, Fit]:
    """One task's student.

    Args:
        task: its rows.
        teacher: `(n, classes)` logits on the training rows.
        student: folder of its first weights.
        plan: see `FitPlan`.
        softness: see `Softness`.

    Raises:
        ValueError: the teacher's logits are not those of the task's rows.
    """
    targets = task.targets["train"]
    if teacher.shape != (len(targets), len(task.labels)):
        raise ValueError(
            f"the teacher of {task.name} gave {teacher.shape} logits, expected "
            f"{(len(targets), len(task.labels))}"
        )
    torch.manual_seed(plan.seed)
    network = TextClassifier(load_backbone(student), len(task.labels))

    def loss(outputs: Tensor, rows: Rows) -> Tensor:
        return distillation_loss(
            outputs,
            torch.from_numpy(teacher[rows]).to(outputs.device),
            torch.from_numpy(targets[rows]).to(outputs.device),
            softness,
        )

    fitted = fit(
        network, task.ids["train"], loss, plan, lambda: task.accuracy(network, "validation")
    )
    return network, fitted


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, softness: Softness
) -> Tensor:
    """The divergence from the teacher's softened guesses, and the cross entropy with the labels.

    The divergence is multiplied by the temperature's square: its gradients then are of one size at
    any temperature (Hinton et al., section 2).

    Args:
        student: `(b, classes)` logits.
        teacher: `(b, classes)` logits; no gradient flows to them.
        targets: `(b,)` class indexes.
        softness: see `Softness`.

    Returns:
        The sum over rows.
    """
    soft = functional.kl_div(
        functional.log_softmax(student / softness.temperature, dim=1),
        functional.log_softmax(teacher.detach() / softness.temperature, dim=1),
        reduction="sum",
        log_target=True,
    )
    hard = functional.cross_entropy(student, targets, reduction="sum")
    return softness.share * softness.temperature**2 * soft + (1 - softness.share) * hard


def results_path(out: Path, student: str) -> Path:
    """Where the results of one size lie."""
    return out / f"distilled-{student}.jsonl"


if __name__ == "__main__":
    main()
