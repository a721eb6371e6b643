"""Rows to texts: which can be asked about, and why the others cannot. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from app.errors import ApiError
from app.tasks.lookup import Limits, check_texts

NAME = "text"


@dataclass
class Texts:
    """The texts of a block.

    Attributes:
        good: texts, in order.
        places: the row of each.
        faults: reasons, by row.
    """

    good: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)


def texts_of(values: Iterable[bytes | None], limits: Limits) -> Texts:
    """Sort rows into texts and faults."""
    texts = Texts()
    for place, value in enumerate(values):
        try:
            text = _checked(value, limits)
        except ValueError as error:
            texts.faults[place] = str(error)
        else:
            texts.good.append(text)
            texts.places.append(place)
    return texts


def values_of(column: Any) -> list[bytes | None]:
    """A column's values as bytes: whoever wrote it may not have looked whether they are UTF-8."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
    values: list[bytes | None] = column.to_pylist()
    return values


def _checked(value: bytes | None, limits: Limits) -> str:
    """The text of a row.

    Raises:
        ValueError: it is none that the service would answer; the message says why.
    """
    if value is None:
        raise ValueError("there is no text")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ValueError("the text is not UTF-8") from None
    try:
        check_texts([text], limits, NAME)
    except ApiError as error:
        raise ValueError(error.message.replace(f"{NAME}[0]", "the text")) from None
    return text
