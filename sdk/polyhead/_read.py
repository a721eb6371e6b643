"""Reads fields out of decoded JSON, naming the place when the contract is broken.

Unknown fields are never looked at, so a newer service can add some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ._errors import ProtocolError

T = TypeVar("T")
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def _broken(where: str, expected: str, value: object) -> ProtocolError:
    got = _NAMES.get(type(value), "a number")
    return ProtocolError(f"unexpected answer: {where} should be {expected}, not {got}")


def as_text(value: object, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _broken(where, "a string", value)
    return value


def as_int(value: object, where: str) -> int:
    """A whole number; a boolean is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _broken(where, "a whole number", value)
    return value


def as_float(value: object, where: str) -> float:
    """A number; a boolean is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _broken(where, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ProtocolError(f"unexpected answer: {where} is too large a number") from None


def as_bool(value: object, where: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise _broken(where, "a boolean", value)
    return value


def as_map(value: object, where: str) -> Mapping[str, Any]:
    """An object, as it came."""
    if not isinstance(value, dict):
        raise _broken(where, "an object", value)
    return value


def list_of(read: Callable[[object, str], T]) -> Callable[[object, str], tuple[T, ...]]:
    """A reader of lists of what `read` reads."""

    def read_list(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _broken(where, "a list", value)
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_list


def map_of(read: Callable[[object, str], T]) -> Callable[[object, str], Mapping[str, T]]:
    """A reader of objects whose values are what `read` reads."""

    def read_map(value: object, where: str) -> Mapping[str, T]:
        return {name: read(item, f"{where}.{name}") for name, item in as_map(value, where).items()}

    return read_map


class Fields:
    """The fields of one JSON object."""

    __slots__ = ("_values", "_where")

    def __init__(self, value: object, where: str) -> None:
        """Raise `ProtocolError` when the value is no object."""
        self._values = as_map(value, where)
        self._where = where

    def need(self, name: str, read: Callable[[object, str], T]) -> T:
        """A field that must be there."""
        where = f"{self._where}.{name}"
        if name not in self._values:
            raise ProtocolError(f"unexpected answer: {where} is missing")
        return read(self._values[name], where)

    def maybe(self, name: str, read: Callable[[object, str], T]) -> T | None:
        """A field that may be missing or null."""
        value = self._values.get(name)
        return None if value is None else read(value, f"{self._where}.{name}")
