"""Columns of texts, as pandas, polars, numpy and plain Python have them. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._each import fault_of


def library_of(column: object) -> str:
    """`"pandas"`, `"polars"`, or whatever else a type's package is called."""
    return type(column).__module__.partition(".")[0]


def values_of(column: Any, name: str = "X") -> list[object]:
    """The values of one column, with None for what is missing.

    Args:
        column: A series, an array or a sequence `(n,)`, or a frame or array of one column `(n, 1)`.
        name: Of the argument, for the messages.

    Raises:
        TypeError: It is one string, or no column at all.
        ValueError: It has not exactly one column.
    """
    if isinstance(column, str | bytes) or not isinstance(column, Iterable):
        raise TypeError(f"{name} must be a column of texts, not {type(column).__name__}")
    shape = getattr(column, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        if len(shape) != 2 or shape[1] != 1:
            raise ValueError(f"{name} must be one column of texts, not of shape {shape}")
        found: Any = column
        column = found[found.columns[0]] if hasattr(found, "columns") else found.reshape(-1)
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    # NaN is how pandas says that there is nothing; it is the only value that differs from itself.
    return [None if _missing(value) else value for value in values]


def _missing(value: object) -> bool:
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float) and value != value


def texts_of(column: Any, name: str = "X") -> list[str]:
    """The same where every value must be a text that can be encoded.

    Raises:
        TypeError: It is one string, or no column at all.
        ValueError: It has not exactly one column, is empty, or a value is no text or a blank one;
            the message says which.
    """
    texts: list[str] = []
    for place, value in enumerate(values_of(column, name)):
        fault = fault_of(value)
        if fault is not None:
            raise ValueError(f"{name}[{place}]: {fault.reason}")
        texts.append(str(value))
    if not texts:
        raise ValueError(f"{name} has no texts")
    return texts
