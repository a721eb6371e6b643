"""What the methods about versions ask for, as data. Pure."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence

from . import _task_parse, _version_parse
from ._calls import Call
from ._drift_types import Drift
from ._inputs import check_list
from ._report_types import LearningCurve
from ._task_requests import task_path
from ._task_types import Comparison, TaskVersion
from ._version_types import Backfill, OutdatedHead, Shadow


def version_path(name: str, version: int, *rest: str) -> str:
    """`/v1/tasks/{task}/versions/{n}` and what follows."""
    return task_path(name, "versions", str(operator.index(version)), *rest)


def get_version(name: str, version: int) -> Call[TaskVersion]:
    """`GET /v1/tasks/{task}/versions/{n}`."""
    path = version_path(name, version)
    return Call("GET", path, _task_parse.version)


def activate_version(name: str, version: int) -> Call[TaskVersion]:
    """`POST /v1/tasks/{task}/versions/{n}/activate`."""
    path = version_path(name, version, "activate")
    return Call("POST", path, _task_parse.version)


class Keep:
    """Stands for a setting that stays as it is."""


KEEP = Keep()


def configure_version(
    name: str,
    version: int,
    min_confidence: float | Keep | None,
    thresholds: Mapping[str, float] | Keep | None,
) -> Call[TaskVersion]:
    """`PATCH /v1/tasks/{task}/versions/{n}`."""
    body: dict[str, object] = {}
    if not isinstance(min_confidence, Keep):
        body["min_confidence"] = min_confidence
    if not isinstance(thresholds, Keep):
        body["thresholds"] = None if thresholds is None else dict(thresholds)
    if not body:
        raise ValueError("give min_confidence or thresholds")
    path = version_path(name, version)
    return Call("PATCH", path, _task_parse.version, json=body)


def compare_versions(name: str, a: int, b: int) -> Call[Comparison]:
    """`POST /v1/tasks/{task}/versions/compare`."""
    body = {"a": operator.index(a), "b": operator.index(b)}
    return Call("POST", task_path(name, "versions", "compare"), _task_parse.comparison, json=body)


def learning_curve(name: str, version: int) -> Call[LearningCurve]:
    """`GET /v1/tasks/{task}/versions/{n}/learning-curve`."""
    return Call("GET", version_path(name, version, "learning-curve"), _version_parse.learning_curve)


def delete_version(name: str, version: int) -> Call[None]:
    """`DELETE /v1/tasks/{task}/versions/{n}`: sent again, it would find nothing."""
    return Call("DELETE", version_path(name, version), _task_parse.deleted, retry="unsent")


def export_version(name: str, version: int, rows: bool) -> Call[bytes]:
    """`GET /v1/tasks/{task}/versions/{n}/export`."""
    path = version_path(name, version, "export") + ("?rows=true" if rows else "")
    return Call("GET", path, _version_parse.content, raw=True)


def import_version(name: str, file: bytes, activate: bool | None) -> Call[TaskVersion]:
    """`POST /v1/tasks/{task}/versions/import`: done twice, there are two versions."""
    query = "" if activate is None else f"?activate={str(activate).lower()}"
    path = task_path(name, "versions", "import") + query
    return Call("POST", path, _task_parse.version, content=bytes(file), retry="unsent")


def start_shadow(name: str, version: int) -> Call[Shadow]:
    """`PUT /v1/tasks/{task}/shadow`."""
    body = {"version": operator.index(version)}
    return Call("PUT", task_path(name, "shadow"), _version_parse.shadow, json=body)


def get_shadow(name: str) -> Call[Shadow]:
    """`GET /v1/tasks/{task}/shadow`."""
    return Call("GET", task_path(name, "shadow"), _version_parse.shadow)


def end_shadow(name: str) -> Call[None]:
    """`DELETE /v1/tasks/{task}/shadow`."""
    return Call("DELETE", task_path(name, "shadow"), _task_parse.deleted, retry="unsent")


def get_drift(name: str) -> Call[Drift]:
    """`GET /v1/tasks/{task}/drift`."""
    return Call("GET", task_path(name, "drift"), _version_parse.drift)


def list_drift() -> Call[list[Drift]]:
    """`GET /v1/drift`."""
    return Call("GET", "/v1/drift", _version_parse.drifts)


def backfill(
    name: str,
    version: int | None,
    tasks: Sequence[str] | None,
    scores: bool,
    path: str | os.PathLike[str],
) -> Call[Backfill]:
    """`POST /v1/tasks/{task}/backfill`; `read` gets the end of the answer."""
    is_table = os.fspath(path).lower().endswith(".parquet")
    body = {
        "version": None if version is None else operator.index(version),
        "tasks": None if tasks is None else check_list(tasks, "tasks"),
        "scores": scores,
        **({"format": "parquet"} if is_table else {}),
    }
    read = _version_parse.backfill_table if is_table else _version_parse.backfill
    return Call("POST", task_path(name, "backfill"), read, json=body, raw=is_table)


def outdated() -> Call[list[OutdatedHead]]:
    """`GET /v1/retraining`."""
    return Call("GET", "/v1/retraining", _version_parse.outdated)
