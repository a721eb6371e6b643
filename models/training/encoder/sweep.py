"""Many trainings at once on one card, each judged on the tasks that it never saw.

    python -m models.training.encoder.sweep --data DATA --cache FOLDER --out FOLDER --jobs FILE...

A file holds a JSON list of jobs, each with the fields of `Job`. One small encoder keeps a card busy
for a part of a step, the rest being launches: so jobs run beside each other, one a core. Jobs that
have a result are skipped. While it runs, `--watch FOLDER` is looked at for more files.

Of each job OUT gets `NAME/` as of `models.training.encoder.train`, and `NAME.json`: by unseen task
the accuracies as of `models.training.encoder.unseen`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.artifact import resolve_backbone
from models.tokenization import TextTokenizer
from models.tokens import Ids
from models.training.backbones import BACKBONE, SHIPPED, parse_backbone
from models.training.datasets import SPLITS
from models.training.encoder.embedder import (
    CALIBRATION_ROWS,
    MAX_TOKENS,
    Embedder,
    trained,
    untrained,
)
from models.training.encoder.loop import BEST, Embeddings, Plan, TrainingTask
from models.training.encoder.model import Design
from models.training.encoder.probe import Form, accuracy, bits_form, few_shot_accuracy, floats_form
from models.training.encoder.suite import (
    GROUPS,
    load_task,
    split_fold,
    tasks_of,
)
from models.training.encoder.train import tokenize, train

JUDGED_ROWS: Any = {"train": 1500, "validation": 300, "test": 1000}


@dataclass(frozen=True, slots=True)
class Job:
    """One training and how it is judged.

    Attributes:
        name: of its folder and result.
        fold: whose groups stay unseen; None trains on all tasks and judges none.
        plan, design: what differs from the defaults.
        teachers: whose embeddings are kept readable: names given by `--teacher`.
        tasks: train on these only, of the seen ones.
        shots: examples a class, beside all rows.
        draws: of so few examples.
    """

    name: str
    fold: int | None = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    design: Mapping[str, Any] = field(default_factory=dict)
    teachers: tuple[str, ...] = ("own",)
    tasks: tuple[str, ...] = ()
    shots: tuple[int, ...] = ()
    draws: int = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """Token ids and targets of a task's rows to judge by, by split."""

    ids: Mapping[str, Sequence[Ids]]
    targets: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Material:
    """What all jobs share, read before they are forked: memory is then shared as well."""

    backbone: str
    seen: Mapping[str, TrainingTask]
    judged: Mapping[str, Judged]
    taught: Mapping[tuple[str, str], Embeddings]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=Path, nargs="*", default=[])
    parser.add_argument("--watch", type=Path, help="folder of further files of jobs")
    parser.add_argument("--watch-seconds", type=float, default=0.0)
    parser.add_argument("--teacher", nargs="*", default=[], metavar="NAME=BACKBONE@LAYERS")
    parser.add_argument("--train-rows", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    teachers = {"own": SHIPPED} | dict(one.split("=", 1) for one in arguments.teacher)
    material = read_material(arguments.data, arguments.cache, teachers, arguments.train_rows)
    print(json.dumps({"ready": round(time.perf_counter(), 1)}), flush=True)
    jobs = [job for path in arguments.jobs for job in read_jobs(path)]
    run_all(jobs, material, arguments)


def run_all(jobs: list[Job], material: Material, arguments: argparse.Namespace) -> None:
    """Jobs of all files, `workers` at once, and those that come meanwhile."""
    context = multiprocessing.get_context("fork")
    files: set[Path] = set()
    running: list[Any] = []
    until = time.monotonic() + arguments.watch_seconds
    while jobs or running or time.monotonic() < until:
        if arguments.watch is not None:
            fresh = set(arguments.watch.glob("*.json")) - files
            files |= fresh
            # Later files are more urgent: what is asked for after a look at the first results.
            jobs = [job for path in sorted(fresh, reverse=True) for job in read_jobs(path)] + jobs
        running = [process for process in running if process.is_alive()]
        while jobs and len(running) < arguments.workers:
            job = jobs.pop(0)
            if not (arguments.out / f"{job.name}.json").is_file():
                process = context.Process(target=run_job, args=(job, material, arguments.out))
                process.start()
                running.append(process)
        time.sleep(0.2)


def read_jobs(path: Path) -> list[Job]:
    """The jobs of a file."""
    jobs = []
    for line in json.loads(path.read_text()):
        listed = {name: tuple(value) for name, value in line.items() if isinstance(value, list)}
        jobs.append(Job(**{**line, **listed}))
    return jobs


def read_material(
    data: Path, cache: Path, teachers: Mapping[str, str], train_rows: int
) -> Material:
    """Read and tokenize all tasks, a process each, and have the teachers embed them.

    What uses the card runs in processes of its own: one that has used it cannot be forked.
    """
    names = tasks_of(tuple(GROUPS))
    backbone = resolve_backbone(BACKBONE)
    folders = {n: resolve_backbone(parse_backbone(named)[0]) for n, named in teachers.items()}
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(mp_context=context) as pool:
        orders = [(data, name, backbone, train_rows, folders) for name in names]
        read = list(pool.map(_read, orders))
    processes = [
        context.Process(
            target=_teach,
            args=({task.name: ids[teacher] for task, _, ids in read}, named, cache / teacher),
        )
        for teacher, named in teachers.items()
    ]
    for process in processes:
        process.start()
    for teacher, process in zip(teachers, processes, strict=True):
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the teacher {teacher!r} could not embed the tasks")
    taught = {
        (teacher, name): np.load(cache / teacher / f"{name}.npy")
        for teacher in teachers
        for name in names
    }
    seen = {task.name: task for task, _, _ in read}
    return Material(backbone, seen, {task.name: judged for task, judged, _ in read}, taught)


def _read(
    order: tuple[Path, str, str, int, Mapping[str, str]],
) -> tuple[TrainingTask, Judged, dict[str, list[Ids]]]:
    """A task to train on, the same to judge by, and its training rows' tokens for the teachers."""
    data, name, backbone, train_rows, teachers = order
    plan = Plan(train_rows=train_rows)
    task = load_task(data, name, {"train": train_rows, "validation": plan.validation_rows})
    texts = task.splits["train"].texts
    trainable = tokenize(task, None, Design(backbone), plan)
    ids: dict[str, list[Ids]] = {}
    for teacher, folder in teachers.items():
        own = folder == backbone
        ids[teacher] = list(trainable.train) if own else _tokens(texts, folder, plan.max_tokens)
    rows = load_task(data, name, JUDGED_ROWS).splits
    judged = Judged(
        {split: _tokens(one.texts, backbone, MAX_TOKENS) for split, one in rows.items()},
        {split: one.targets for split, one in rows.items()},
    )
    return trainable, judged, ids


def _tokens(texts: Sequence[str], folder: str, limit: int) -> list[Ids]:
    tokenizer = TextTokenizer(Path(folder) / "tokenizer.json", limit)
    return [one.windows[0] for one in tokenizer(texts)]


def _teach(rows: Mapping[str, Sequence[Ids]], named: str, to: Path) -> None:
    """A teacher's embeddings of all tasks' training rows."""
    to.mkdir(parents=True, exist_ok=True)
    if all(_is_made(to / f"{name}.npy", len(ids)) for name, ids in rows.items()):
        return
    with tempfile.TemporaryDirectory() as nothing:
        embed = Embedder(untrained(named), Path(nothing))
        for name, ids in rows.items():
            np.save(to / f"{name}.npy", embed.of_tokens(ids).astype(np.float16))


def _is_made(path: Path, rows: int) -> bool:
    """Whether embeddings of so many rows are there: of other rows they are of no use."""
    return path.is_file() and len(np.load(path, mmap_mode="r")) == rows


def run_job(job: Job, material: Material, out: Path) -> None:
    """Train, judge, write. What fails is written down."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        result = train_and_judge(job, material, out / job.name)
    except Exception:
        (out / f"{job.name}.failed").write_text(traceback.format_exc())
        raise
    result["seconds"] = round(time.perf_counter() - started, 1)
    temporary = out / f"{job.name}.new"
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(out / f"{job.name}.json")


def train_and_judge(job: Job, material: Material, folder: Path) -> dict[str, Any]:
    """One job's means and accuracies by unseen task."""
    names, unseen = (tasks_of(tuple(GROUPS)), ()) if job.fold is None else split_fold(job.fold)
    names = tuple(name for name in names if not job.tasks or name in job.tasks)
    started = time.perf_counter()
    if job.plan.get("steps", Plan().steps):
        plan = replace(Plan(), **job.plan)
        design = Design(**{"backbone": material.backbone, **job.design})
        tasks_seen = [_taught_task(job, plan, material, name) for name in names]
        train(design, plan, tasks_seen, folder, quiet=True)
        model = trained(folder / BEST)
    else:
        model = untrained()
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as nothing:
        embed = Embedder(model, Path(nothing)).of_tokens
        calibration = [
            ids for name in names for ids in material.seen[name].train[:CALIBRATION_ROWS]
        ]
        thresholds = np.median(embed(calibration), axis=0)
        tasks = {}
        for name in unseen:
            judged = material.judged[name]
            parts = [embed(judged.ids[split]) for split in SPLITS]
            forms = {"floats": floats_form(parts), "bits": bits_form(parts, thresholds)}
            tasks[name] = judge(judged.targets, forms, job)
    means = {
        key: round(float(np.mean([by[key] for by in tasks.values()])), 3)
        for key in next(iter(tasks.values()), {})
    }
    return {"means": means, "tasks": tasks, "train_seconds": round(seconds, 1)}


def _taught_task(job: Job, plan: Plan, material: Material, name: str) -> TrainingTask:
    """A task with what the job's teachers make of it, if any of it is to be kept."""
    taught = [material.taught[teacher, name] for teacher in job.teachers] if plan.keep else []
    whole = np.concatenate(taught, axis=1) if taught else None
    return replace(material.seen[name], taught=whole)


def judge(
    targets: Mapping[str, NDArray[np.int64]], forms: Mapping[str, Form], job: Job
) -> dict[str, float]:
    """Accuracies of heads on all rows, and on few examples a class."""
    targets = dict(targets)
    everything = np.arange(len(targets["train"]))
    found = {name: accuracy(form, targets, everything) for name, form in forms.items()}
    for count in job.shots:
        for name, form in forms.items():
            found[f"{name} {count}"] = few_shot_accuracy(form, targets, count, job.draws)
    return found


if __name__ == "__main__":
    main()
