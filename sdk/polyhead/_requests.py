"""What predict, encode, embed and models ask for, as data. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import accumulate
from typing import Any, TypeVar

from . import _parse
from ._calls import Call, Plan
from ._errors import ProtocolError
from ._inputs import check_inputs, check_list, split_inputs
from ._types import (
    Codes,
    Embeddings,
    Model,
    Precision,
    Predictions,
    Results,
    Usage,
)

T = TypeVar("T")
R = TypeVar("R", bound=Results[Any])


def usage_of(parts: Sequence[Results[Any]]) -> Usage:
    return reduce(operator.add, (part.usage for part in parts))


def same(values: Sequence[T], what: str) -> T:
    """The one value that all requests of a call must agree on."""
    if any(value != values[0] for value in values):
        raise ProtocolError(f"unexpected answer: {what} changed between the requests of one call")
    return values[0]


def join_predictions(parts: list[Predictions]) -> Predictions:
    """One sequence, its indexes counting over all parts."""
    items = (item for part in parts for item in part)
    return Predictions(
        items=tuple(replace(item, index=index) for index, item in enumerate(items)),
        usage=usage_of(parts),
        encoder=same([part.encoder for part in parts], "the encoder"),
        skipped=tuple(dict.fromkeys(item for part in parts for item in part.skipped)),
    )


def join_codes(parts: list[Codes]) -> Codes:
    """One sequence of codes that compare."""
    return Codes(
        items=tuple(item for part in parts for item in part),
        usage=usage_of(parts),
        bits=same([part.bits for part in parts], "the number of bits"),
        encoder=same([part.encoder for part in parts], "the encoder"),
    )


def join_embeddings(parts: list[Embeddings]) -> Embeddings:
    """One sequence of vectors that compare."""
    same([len(part[0]) for part in parts], "the width")
    return Embeddings(
        items=tuple(item for part in parts for item in part),
        usage=usage_of(parts),
        model=same([part.model for part in parts], "the model"),
    )


def plan_parts(
    path: str,
    texts: list[str],
    max_batch: int,
    read: Callable[..., R],
    join: Callable[[list[R]], R],
    body: Mapping[str, object],
    field: str,
    argument: str,
) -> Plan[R]:
    parts = split_inputs(texts, max_batch)
    stops = list(accumulate(map(len, parts)))
    calls = [
        Call(
            "POST",
            path,
            partial(read, count=len(part)),
            json={field: part, **body},
            part=f"{argument}[{stop - len(part)}:{stop}]" if len(parts) > 1 else None,
        )
        for part, stop in zip(parts, stops, strict=True)
    ]
    return Plan(calls, join)


def predict(
    inputs: str | Sequence[str] | None,
    tasks: Sequence[str] | None,
    keys: Sequence[str] | None,
    scores: bool,
    truncate: bool,
    max_batch: int,
) -> Plan[Predictions]:
    """The requests of `predict`."""
    if (inputs is None) == (keys is None):
        raise ValueError("give either inputs or keys, and not both")
    texts = check_inputs(inputs) if keys is None else check_list(keys, "keys")
    field = "inputs" if keys is None else "keys"
    body: dict[str, object] = {
        "tasks": None if tasks is None else check_list(tasks, "tasks"),
        "scores": scores,
    }
    if keys is None:
        body["truncate"] = truncate
    return plan_parts(
        "/v1/predict",
        texts,
        max_batch,
        _parse.predictions,
        join_predictions,
        body,
        field,
        field,
    )


def encode(inputs: str | Sequence[str], max_batch: int) -> Plan[Codes]:
    """The requests of `encode`."""
    texts = check_inputs(inputs)
    return plan_parts(
        "/v1/encode", texts, max_batch, _parse.codes, join_codes, {}, "inputs", "inputs"
    )


def embed(inputs: str | Sequence[str], precision: Precision, max_batch: int) -> Plan[Embeddings]:
    """The requests of `embed`, in OpenAI's form."""
    if precision not in ("code", "full"):
        raise ValueError(f"precision must be 'code' or 'full', not {precision!r}")
    return plan_parts(
        "/v1/embeddings",
        check_inputs(inputs),
        max_batch,
        _parse.embeddings,
        join_embeddings,
        {"encoding_format": "base64", "precision": precision},
        "input",
        "inputs",
    )


def models() -> Call[list[Model]]:
    """`GET /v1/models`."""
    return Call("GET", "/v1/models", _parse.models)


def document(path: str) -> Call[Mapping[str, Any]]:
    """A page of JSON that is passed on as it is."""
    return Call("GET", path, _parse.document)
