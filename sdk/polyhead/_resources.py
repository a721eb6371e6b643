"""`client.tasks` and `client.jobs` of the sync client."""

from __future__ import annotations

import builtins
import time
from collections.abc import Sequence
from typing import Literal

from . import _task_requests
from ._errors import NotFound
from ._examples import Examples
from ._jobs import Watch
from ._progress import progress_bar
from ._task_types import Head, Job, Kind, Task
from ._versions import Download, Send, TaskVersions


class Jobs:
    """Trainings under way and done. Every method may raise a `PolyheadError`."""

    def __init__(self, send: Send) -> None:
        """Made by the client."""
        self._send = send

    def list(self) -> builtins.list[Job]:
        """All the jobs that the service remembers."""
        return self._send(_task_requests.list_jobs())

    def get(self, id: str) -> Job:
        """One job as it is now.

        Raises:
            NotFound: There is none of this id.
        """
        return self._send(_task_requests.get_job(id))

    def wait(
        self,
        job: Job | str,
        timeout: float | None = None,
        poll: float = 0.25,
        progress: bool | None = None,
    ) -> Job:
        """Wait for the end of a job.

        Args:
            job: The job or its id.
            timeout: Seconds to wait at most; None waits as long as it takes.
            poll: Seconds between two looks.
            progress: Show a bar on stderr; None shows it when stderr is a terminal. It is tqdm's
                where tqdm is installed.

        Returns:
            The job, succeeded: `version` and `report` are set.

        Raises:
            JobFailed: It failed; the error's `job` says why.
            Timeout: It goes on, but the time is up.
        """
        watch = Watch(timeout, poll)
        if not isinstance(job, Job):
            job = self.get(job)
        with progress_bar(progress, job.task) as bar:
            while (pause := watch.pause(job, bar)) is not None:
                time.sleep(pause)
                job = self.get(job.id)
        return job


class Tasks(TaskVersions):
    """Named questions and their heads. Every method may raise a `PolyheadError`."""

    def __init__(self, send: Send, download: Download, jobs: Jobs) -> None:
        """Made by the client."""
        super().__init__(send, download)
        self._jobs = jobs

    def list(self) -> builtins.list[Task]:
        """All the tasks."""
        return self._send(_task_requests.list_tasks())

    def get(self, name: str) -> Task:
        """One task.

        Raises:
            NotFound: There is none of this name.
        """
        return self._send(_task_requests.get_task(name))

    def create(
        self,
        name: str,
        kind: Kind = "single_label",
        labels: Sequence[str] | None = None,
        description: str | None = None,
    ) -> Task:
        """Create a task; doing it again with the same kind and labels changes nothing.

        Args:
            name: Its name.
            kind: What it answers with: one label, any number of them, or a number.
            labels: The labels to choose from; None takes them from the first training.
            description: What is asked, for people.

        Raises:
            Conflict: It exists with another kind or other labels.
        """
        return self._send(_task_requests.create_task(name, kind, labels, description))

    def delete(self, name: str) -> None:
        """Delete a task and all its heads.

        Raises:
            NotFound: There is none of this name.
        """
        self._send(_task_requests.delete_task(name))

    def train(
        self,
        name: str,
        examples: Examples | None = None,
        *,
        test_examples: Examples | None = None,
        head: Head = "auto",
        activate: bool | None = None,
        test_fraction: float | None = None,
        seed: int = 0,
        class_weight: Literal["balanced"] | None = None,
        label_names: bool = True,
        base: int | None = None,
        create: bool = True,
        kind: Kind | None = None,
        wait: bool = False,
        text_column: str = "text",
        label_column: str = "label",
    ) -> Job:
        """Train a new head version of a task from labelled texts.

        Args:
            name: The task.
            examples: What to learn from: pairs of text and label, dicts, or the path of a `.csv`
                or `.jsonl` file, which is read into memory. A label is a str for a single label
                task, a list of str for a multi label task, a float for a regression. May be left
                out where there is a base.
            test_examples: What to evaluate on, in the same form; None holds some examples out.
            head: What to train over the codes; `"auto"` is `"prototype"` with few examples a
                label, else `"linear"`.
            activate: Whether the new version answers from now on; None: when none does yet.
            test_fraction: Share of the examples to hold out, when no test examples are given;
                None: a fifth, or where that would be under 20, none: the report is cross-validated.
            seed: Of the split and the training.
            class_weight: `"balanced"` weighs rare labels up.
            label_names: With few examples, read what the labels are called as some more of them;
                `False` for names that say nothing.
            base: A version whose stored rows are trained on as well, without encoding them again.
                An example whose text is among them replaces it, as to correct a label.
            create: Create the task when it is missing. It stays when the training is then refused.
            kind: Kind of the task when it must be created; None tells it from the labels (a CSV
                file: single label).
            wait: Return when the training has ended, showing a bar when stderr is a terminal.
            text_column: Where CSV files and dicts hold the text.
            label_column: Where CSV files and dicts hold the label; in dicts `labels` and `value`
                are looked at too.

        Returns:
            The job: just queued, or succeeded when waited for.

        Raises:
            OSError: The file cannot be read.
            TypeError: An example is none, or a label is an int, which could mean two things.
            ValueError: There are no examples, or they are of several kinds.
            NotFound: The task is missing and `create` is false, or there is no such base.
            Conflict: The base has no stored rows.
            JobFailed: The training failed, when waited for.
        """
        training = _task_requests.train(
            name,
            examples,
            test_examples=test_examples,
            head=head,
            activate=activate,
            test_fraction=test_fraction,
            seed=seed,
            class_weight=class_weight,
            label_names=label_names,
            base=base,
            text_column=text_column,
            label_column=label_column,
        )
        if create and base is None:
            try:
                self.get(name)
            except NotFound:
                self.create(name, kind or training.kind)
        job = self._send(training.call)
        return self._jobs.wait(job) if wait else job

    def evaluate(
        self,
        name: str,
        version: int,
        examples: Examples,
        *,
        wait: bool = False,
        text_column: str = "text",
        label_column: str = "label",
    ) -> Job:
        """Test a version on labelled texts. Nothing is stored but the job with its report.

        Args:
            name: The task.
            version: The version, active or not.
            examples: As for `train`.
            wait: Return when it has ended, showing a bar when stderr is a terminal.
            text_column: Where CSV files and dicts hold the text.
            label_column: Where CSV files and dicts hold the label.

        Returns:
            The job: just queued, or succeeded when waited for, with a `report`.

        Raises:
            OSError: The file cannot be read.
            NotFound: There is no such task or version.
            InvalidField: An example has a label that the version does not know.
            JobFailed: It failed, when waited for.
        """
        call = _task_requests.evaluate(name, version, examples, text_column, label_column)
        job = self._send(call)
        return self._jobs.wait(job) if wait else job
