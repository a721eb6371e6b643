"""What the methods of `client.tasks` and `client.jobs` ask for, as data.

Pure, but for reading a training file.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from . import _task_parse
from ._calls import Call, Form, segment
from ._examples import Examples, File, Rows, read_examples
from ._inputs import check_list, check_text
from ._task_types import Head, Job, Kind, Task


def task_path(name: str, *rest: str) -> str:
    return "/".join(("/v1/tasks", segment(name, "name"), *rest))


def list_tasks() -> Call[list[Task]]:
    """`GET /v1/tasks`."""
    return Call("GET", "/v1/tasks", _task_parse.tasks)


def get_task(name: str) -> Call[Task]:
    """`GET /v1/tasks/{task}`."""
    return Call("GET", task_path(name), _task_parse.task)


def create_task(
    name: str, kind: Kind, labels: Sequence[str] | None, description: str | None
) -> Call[Task]:
    """`PUT /v1/tasks/{task}`."""
    body = {
        "kind": kind,
        "labels": None if labels is None else check_list(labels, "labels"),
        "description": None if description is None else check_text(description, "description"),
    }
    return Call("PUT", task_path(name), _task_parse.task, json=body)


def delete_task(name: str) -> Call[None]:
    """`DELETE /v1/tasks/{task}`: sent again after a lost answer, it would find nothing."""
    return Call("DELETE", task_path(name), _task_parse.deleted, retry="unsent")


def get_job(id: str) -> Call[Job]:
    """`GET /v1/jobs/{id}`."""
    return Call("GET", f"/v1/jobs/{segment(id, 'id')}", _task_parse.job)


def list_jobs() -> Call[list[Job]]:
    """`GET /v1/jobs`."""
    return Call("GET", "/v1/jobs", _task_parse.jobs)


@dataclass(frozen=True, slots=True)
class Training:
    """A training to start, and the kind its task should have if it must be created."""

    call: Call[Job]
    kind: Kind


def _form_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def train(
    name: str,
    examples: Examples | None,
    *,
    test_examples: Examples | None,
    head: Head,
    activate: bool | None,
    test_fraction: float | None,
    seed: int,
    class_weight: str | None,
    label_names: bool,
    base: int | None,
    text_column: str,
    label_column: str,
) -> Training:
    """`POST /v1/tasks/{task}/versions`: rows go as JSON, files as an upload."""
    columns = {
        "text_column": check_text(text_column, "text_column"),
        "label_column": check_text(label_column, "label_column"),
    }
    data = test = None
    if examples is not None or base is None:
        data = read_examples(examples, "examples", **columns)
    if test_examples is not None:
        test = read_examples(test_examples, "test_examples", **columns)
    path = task_path(name, "versions")
    options: dict[str, object] = {
        "head": head,
        "activate": activate,
        "test_fraction": test_fraction,
        "seed": seed,
        "class_weight": class_weight,
        "label_names": label_names,
        "base": None if base is None else operator.index(base),
    }
    if not isinstance(data, File) and not isinstance(test, File):
        if data is not None and test is not None and test.kind != data.kind:
            raise ValueError(f"test_examples are {test.kind}, but examples are {data.kind}")
        rows = {
            "examples": None if data is None else data.rows,
            "test_examples": None if test is None else test.rows,
        }
        call = Call("POST", path, _task_parse.job, json={**rows, **options}, retry="unsent")
    elif not isinstance(data, Rows) and not isinstance(test, Rows):
        # Neutral names: only the suffix matters, and paths are nobody else's business.
        files = {}
        if data is not None:
            files["file"] = (f"examples{data.suffix}", data.content)
        if test is not None:
            files["test_file"] = (f"test_examples{test.suffix}", test.content)
        given = {key: _form_value(value) for key, value in options.items() if value is not None}
        form = Form({**given, **columns}, files)
        call = Call("POST", path, _task_parse.job, form=form, retry="unsent")
    else:
        raise ValueError("examples and test_examples must both be files or both be rows")
    given_rows = data or test
    return Training(call, given_rows.kind if given_rows else "single_label")


def evaluate(
    name: str, version: int, examples: Examples, text_column: str, label_column: str
) -> Call[Job]:
    """`POST /v1/tasks/{task}/versions/{n}/evaluate`."""
    columns = {
        "text_column": check_text(text_column, "text_column"),
        "label_column": check_text(label_column, "label_column"),
    }
    data = read_examples(examples, "examples", **columns)
    path = task_path(name, "versions", str(operator.index(version)), "evaluate")
    if isinstance(data, File):
        form = Form(columns, {"file": (f"examples{data.suffix}", data.content)})
        return Call("POST", path, _task_parse.job, form=form, retry="unsent")
    return Call("POST", path, _task_parse.job, json={"examples": data.rows}, retry="unsent")
