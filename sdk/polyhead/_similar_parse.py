"""Decoded JSON to neighbours and suspects. Pure."""

from __future__ import annotations

from ._errors import ProtocolError
from ._parse import prediction, usage
from ._read import Fields, as_bool, as_float, as_int, as_text, list_of, map_of
from ._similar_types import (
    Neighbour,
    Neighbours,
    Searched,
    Similar,
    Suspect,
    SuspectNeighbour,
    Suspects,
)


def _neighbour(value: object, where: str) -> Neighbour:
    fields = Fields(value, where)
    return Neighbour(
        distance=fields.need("distance", as_int),
        share=fields.need("share", as_float),
        key=fields.maybe("key", as_text),
        predictions=fields.maybe("predictions", map_of(prediction)),
        version=fields.maybe("version", as_int),
        part=fields.maybe("part", as_text),
        row=fields.maybe("row", as_int),
        label=fields.maybe("label", as_text),
        labels=fields.maybe("labels", list_of(as_text)),
        value=fields.maybe("value", as_float),
    )


def _neighbours(value: object, where: str) -> Neighbours:
    fields = Fields(value, where)
    return Neighbours(
        index=fields.need("index", as_int),
        key=fields.need("key", as_text),
        neighbours=fields.need("neighbours", list_of(_neighbour)),
    )


def _searched(value: object, where: str) -> Searched:
    fields = Fields(value, where)
    return Searched(
        codes=fields.need("codes", as_int),
        complete=fields.need("complete", as_bool),
        age_s=fields.maybe("age_s", as_float),
    )


def similar(value: object, *, count: int) -> Similar:
    """The answer of `POST /v1/similar` to `count` inputs."""
    fields = Fields(value, "answer")
    items = fields.need("data", list_of(_neighbours))
    if [item.index for item in items] != list(range(count)):
        raise ProtocolError(f"unexpected answer: data should hold {count} items in order")
    return Similar(
        items=items,
        usage=fields.need("usage", usage),
        bits=fields.need("bits", as_int),
        encoder=fields.need("encoder", as_text),
        searched=fields.need("searched", _searched),
    )


def _suspect_neighbour(value: object, where: str) -> SuspectNeighbour:
    fields = Fields(value, where)
    return SuspectNeighbour(
        version=fields.need("version", as_int),
        part=fields.need("part", as_text),
        row=fields.need("row", as_int),
        label=fields.need("label", as_text),
        distance=fields.need("distance", as_int),
    )


def _suspect(value: object, where: str) -> Suspect:
    fields = Fields(value, where)
    return Suspect(
        version=fields.need("version", as_int),
        part=fields.need("part", as_text),
        row=fields.need("row", as_int),
        label=fields.need("label", as_text),
        suggested=fields.need("suggested", as_text),
        suspicion=fields.need("suspicion", as_float),
        probability=fields.need("probability", as_float),
        agreeing=fields.need("agreeing", as_int),
        neighbours=fields.maybe("neighbours", list_of(_suspect_neighbour)) or (),
    )


def suspects(value: object) -> Suspects:
    """The answer of `GET /v1/tasks/{task}/versions/{n}/suspects`."""
    fields = Fields(value, "answer")
    return Suspects(
        task=fields.need("task", as_text),
        version=fields.need("version", as_int),
        rows=fields.need("rows", as_int),
        data=fields.need("data", list_of(_suspect)),
    )
