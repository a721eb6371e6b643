"""After a change of encoder: train what it left without an answer, from texts that were kept.

    polyhead retrain FOLDER

The service keeps codes and labels, never texts, and codes of one encoder are nothing to another. So
FOLDER holds what was trained on: `TASK.csv` or `TASK.jsonl` for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

from ._client import Client
from ._errors import APIError, JobFailed
from ._task_types import Head, Job
from ._version_types import OutdatedHead

SUFFIXES = (".csv", ".jsonl")
Write = Callable[[str], None]


def retrain(
    client: Client,
    folder: Path,
    *,
    tasks: Sequence[str] | None = None,
    list_only: bool = False,
    text_column: str = "text",
    label_column: str = "label",
    write: Write = print,
) -> int:
    """Train every outdated head whose texts are in `folder`, and let it answer.

    Args:
        client: Of the service, with a key that may manage.
        folder: Of the files of texts and labels.
        tasks: Only these; None: all that are outdated.
        list_only: Say what would be done, and do nothing.
        text_column: Where files hold the text.
        label_column: Where files hold the label.
        write: Takes a line a task.

    Returns:
        How many heads are outdated still.
    """
    found = [one for one in client.tasks.outdated() if tasks is None or one.task in tasks]
    if not found:
        write("no head is outdated")
    left = 0
    for head in found:
        file = _file_of(folder, head.task)
        if file is None:
            left += 1
            write(
                f"{head.task}: needs its texts as {folder / head.task}.csv or .jsonl{_note(head)}"
            )
        elif list_only:
            left += 1
            write(f"{head.task}: would be trained on {file}")
        else:
            try:
                job = _train(client, head, file, text_column, label_column)
            except (APIError, JobFailed) as error:
                left += 1
                write(f"{head.task}: failed: {error}")
            else:
                write(f"{head.task}: version {job.version} answers, {_compared(client, head, job)}")
    return left


def _train(
    client: Client, head: OutdatedHead, file: Path, text_column: str, label_column: str
) -> Job:
    """As the outdated version was trained, as far as is known."""
    options = head.options
    weight = options.get("class_weight")
    kind = options.get("head")
    seed, fraction = options.get("seed"), options.get("test_fraction")
    return client.tasks.train(
        head.task,
        file,
        head=cast(Head, kind) if isinstance(kind, str) else "auto",
        class_weight=cast(Literal["balanced"], weight) if weight == "balanced" else None,
        label_names=options.get("label_names") is not False,
        seed=seed if isinstance(seed, int) else 0,
        test_fraction=fraction if isinstance(fraction, float) else None,
        activate=True,
        create=False,
        wait=True,
        text_column=text_column,
        label_column=label_column,
    )


def _compared(client: Client, head: OutdatedHead, job: Job) -> str:
    """The new figure beside the old one; they are of other rows where the texts are others."""
    former = client.tasks.version(head.task, head.version).report
    name = "mae" if head.kind == "regression" else "accuracy"

    def figure(report: object) -> str:
        value = getattr(report, name, None)
        return "unknown" if value is None else f"{value:.3f}"

    return f"{name} {figure(job.report)} (version {head.version}: {figure(former)})"


def _file_of(folder: Path, task: str) -> Path | None:
    files = (folder / f"{task}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _note(head: OutdatedHead) -> str:
    return " (it came with the service, without its texts)" if head.ready_made else ""
