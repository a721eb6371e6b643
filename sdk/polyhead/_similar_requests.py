"""What `similar` and `tasks.suspects` ask for, as data. Pure."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

from . import _similar_parse
from ._calls import Call, Plan
from ._inputs import check_inputs, check_list, check_text
from ._requests import plan_parts, same, usage_of
from ._similar_types import Similar, Suspects
from ._version_requests import version_path

MAX_LIMIT = 100
MAX_NEIGHBOURS = 10_000
"""Of all inputs of a request together: what the service answers at most."""


def similar(
    inputs: str | Sequence[str] | None,
    keys: Sequence[str] | None,
    *,
    limit: int,
    max_distance: int | None,
    tasks: Sequence[str] | None,
    task: str | None,
    version: int | None,
    max_age_s: float | None,
    max_batch: int,
) -> Plan[Similar]:
    """The requests of `similar`."""
    if (inputs is None) == (keys is None):
        raise ValueError("give either inputs or keys, and not both")
    if not 1 <= operator.index(limit) <= MAX_LIMIT:
        raise ValueError(f"limit must be 1 to {MAX_LIMIT}, not {limit}")
    if version is not None and task is None:
        raise ValueError("version needs task")
    texts = check_inputs(inputs) if keys is None else check_list(keys, "keys")
    field = "inputs" if keys is None else "keys"
    given = {
        "max_distance": None if max_distance is None else operator.index(max_distance),
        "tasks": None if tasks is None else check_list(tasks, "tasks"),
        "task": None if task is None else check_text(task, "task"),
        "version": None if version is None else operator.index(version),
        "max_age_s": max_age_s,
    }
    body = {name: value for name, value in given.items() if value is not None}
    return plan_parts(
        "/v1/similar",
        texts,
        min(max_batch, MAX_NEIGHBOURS // limit),
        _similar_parse.similar,
        join_similar,
        {"limit": limit, **body},
        field,
        field,
    )


def join_similar(parts: list[Similar]) -> Similar:
    """One sequence, its indexes counting over all parts."""
    items = (item for part in parts for item in part)
    return Similar(
        items=tuple(replace(item, index=index) for index, item in enumerate(items)),
        usage=usage_of(parts),
        bits=same([part.bits for part in parts], "the number of bits"),
        encoder=same([part.encoder for part in parts], "the encoder"),
        searched=parts[0].searched,
    )


def suspects(name: str, version: int, limit: int, neighbours: int) -> Call[Suspects]:
    """`GET /v1/tasks/{task}/versions/{n}/suspects`."""
    query = f"?limit={operator.index(limit)}&neighbours={operator.index(neighbours)}"
    path = version_path(name, version, "suspects") + query
    return Call("GET", path, _similar_parse.suspects)
