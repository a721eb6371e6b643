"""Decoded JSON to the result types of predict, encode, embed and models. Pure."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ._errors import ProtocolError
from ._read import Fields, as_bool, as_float, as_int, as_map, as_text, list_of, map_of
from ._types import Code, Codes, Embeddings, Model, Prediction, Predictions, Result, Skipped, Usage

T = TypeVar("T")


def usage(value: object, where: str) -> Usage:
    """The counts of one answer."""
    fields = Fields(value, where)
    return Usage(
        prompt_tokens=fields.maybe("prompt_tokens", as_int),
        total_tokens=fields.maybe("total_tokens", as_int),
        inputs=fields.maybe("inputs", as_int),
        cached=fields.maybe("cached", as_int),
        encoded=fields.maybe("encoded", as_int),
    )


def prediction(value: object, where: str) -> Prediction:
    """The answer of one task."""
    fields = Fields(value, where)
    return Prediction(
        version=fields.need("version", as_int),
        label=fields.maybe("label", as_text),
        score=fields.maybe("score", as_float),
        labels=fields.maybe("labels", list_of(as_text)),
        value=fields.maybe("value", as_float),
        scores=fields.maybe("scores", map_of(as_float)),
        abstained=fields.maybe("abstained", as_bool) or False,
    )


def _result(value: object, where: str) -> Result:
    fields = Fields(value, where)
    return Result(
        index=fields.need("index", as_int),
        key=fields.need("key", as_text),
        cached=fields.need("cached", as_bool),
        predictions=fields.need("predictions", map_of(prediction)),
        truncated=fields.maybe("truncated", as_bool),
    )


def _skipped(value: object, where: str) -> Skipped:
    fields = Fields(value, where)
    return Skipped(task=fields.need("task", as_text), reason=fields.need("reason", as_text))


def _unbase64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"unexpected answer: {where} is not base64") from None


def _bytes(value: object, where: str) -> bytes:
    return _unbase64(as_text(value, where), where)


def _code(value: object, where: str) -> tuple[int, Code]:
    fields = Fields(value, where)
    return fields.need("index", as_int), Code(
        key=fields.need("key", as_text),
        code=fields.need("code", _bytes),
        cached=fields.need("cached", as_bool),
        truncated=fields.maybe("truncated", as_bool),
        tokens=fields.maybe("tokens", as_int),
    )


def vector(value: object, where: str) -> list[float]:
    """A vector: base64 of little-endian float32, or a list of numbers."""
    if isinstance(value, str):
        packed = _unbase64(value, where)
        if len(packed) % 4:
            raise ProtocolError(
                f"unexpected answer: {where} holds {len(packed)} bytes, not a multiple of 4"
            )
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    return list(list_of(as_float)(value, where))


def _embedding(value: object, where: str) -> tuple[int, list[float]]:
    fields = Fields(value, where)
    return fields.need("index", as_int), fields.need("embedding", vector)


def _in_order(items: tuple[T, ...], count: int, index: Callable[[T], int]) -> tuple[T, ...]:
    """The items by index, which must be 0 to count - 1."""
    ordered = tuple(sorted(items, key=index))
    if [index(item) for item in ordered] != list(range(count)):
        raise ProtocolError(
            f"unexpected answer: data should hold {count} items of index 0 to {count - 1}, "
            f"but holds {len(items)}" + ("" if len(items) != count else " with other indexes")
        )
    return ordered


def predictions(value: object, *, count: int) -> Predictions:
    """The answer to one predict request of `count` texts or keys."""
    fields = Fields(value, "answer")
    items = fields.need("data", list_of(_result))
    return Predictions(
        items=_in_order(items, count, lambda item: item.index),
        usage=fields.need("usage", usage),
        encoder=fields.need("encoder", as_text),
        skipped=fields.maybe("skipped", list_of(_skipped)) or (),
    )


def codes(value: object, *, count: int) -> Codes:
    """The answer to one encode request of `count` texts."""
    fields = Fields(value, "answer")
    bits = fields.need("bits", as_int)
    items = _in_order(fields.need("data", list_of(_code)), count, lambda item: item[0])
    for index, code in items:
        if len(code.code) != (bits + 7) // 8:
            raise ProtocolError(
                f"unexpected answer: data[{index}].code holds {len(code.code)} bytes, "
                f"which is not {bits} bits"
            )
    return Codes(
        items=tuple(code for _, code in items),
        usage=fields.need("usage", usage),
        bits=bits,
        encoder=fields.need("encoder", as_text),
    )


def embeddings(value: object, *, count: int) -> Embeddings:
    """The answer to one embeddings request of `count` texts."""
    fields = Fields(value, "answer")
    items = _in_order(fields.need("data", list_of(_embedding)), count, lambda item: item[0])
    widths = {len(item) for _, item in items}
    if len(widths) > 1:
        raise ProtocolError(f"unexpected answer: vectors of several lengths, {sorted(widths)}")
    return Embeddings(
        items=tuple(item for _, item in items),
        usage=fields.need("usage", usage),
        model=fields.maybe("model", as_text),
    )


def _model(value: object, where: str) -> Model:
    fields = Fields(value, where)
    return Model(
        id=fields.need("id", as_text),
        created=fields.maybe("created", as_float),
        owned_by=fields.maybe("owned_by", as_text),
    )


def models(value: object) -> list[Model]:
    """The answer of `GET /v1/models`."""
    return list(Fields(value, "answer").need("data", list_of(_model)))


def document(value: object) -> Mapping[str, Any]:
    """An answer that is passed on as it came: info and stats."""
    return as_map(value, "answer")
