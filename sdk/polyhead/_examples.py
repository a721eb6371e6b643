"""Labelled texts, as people have them, to the body of a training request."""

from __future__ import annotations

import json
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ._inputs import check_list, check_text
from ._task_types import Kind

Target: TypeAlias = str | Sequence[str] | Set[str] | float
"""A label, several labels, or a number to regress on."""

Example: TypeAlias = tuple[str, Target] | Mapping[str, object]
"""A pair, or a dict that holds the text and the label under the column names."""

Examples: TypeAlias = str | os.PathLike[str] | Iterable[Example]
"""The path of a `.csv` or `.jsonl` file, or the examples themselves."""

_FIELD: dict[Kind, str] = {"single_label": "label", "multi_label": "labels", "regression": "value"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples as JSON rows, all of one kind."""

    kind: Kind
    rows: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class File:
    """Examples as a file. `kind` is a guess: a CSV file does not say."""

    kind: Kind
    suffix: str
    content: bytes


def _number(value: object, where: str) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{where} must be a number, not {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{where} must be finite, not {number}")
    return number


def _target(value: object, where: str) -> tuple[Kind, object]:
    """The kind that a label speaks of, and the label."""
    if isinstance(value, str):
        return "single_label", check_text(value, where)
    if isinstance(value, numbers.Integral):
        raise TypeError(
            f"{where} is {value!r}, which may be a class or a number: write "
            f"'{value}' for a label, {float(value)} for a number to regress on"
        )
    if isinstance(value, numbers.Real):
        return "regression", _number(value, where)
    if isinstance(value, list | tuple | Set):
        labels = sorted(value) if isinstance(value, Set) else list(value)
        return "multi_label", check_list(labels, where) if labels else []
    raise TypeError(f"{where} must be a str, a list of str or a float, not {type(value).__name__}")


def _mapping_target(
    row: Mapping[str, object], where: str, label_column: str
) -> tuple[Kind, object]:
    found = [name for name in dict.fromkeys((label_column, "labels", "value")) if name in row]
    if len(found) != 1:
        raise ValueError(
            f"{where} must have exactly one of {label_column!r}, 'labels' and 'value', "
            f"but has {found or 'none'}"
        )
    name = found[0]
    if name == "value":
        return "regression", _number(row[name], f"{where}[{name!r}]")
    return _target(row[name], f"{where}[{name!r}]")


def _row(
    example: object, where: str, text_column: str, label_column: str
) -> tuple[Kind, dict[str, object]]:
    if isinstance(example, Mapping):
        if text_column not in example:
            raise ValueError(f"{where} has no {text_column!r}")
        text = check_text(example[text_column], f"{where}[{text_column!r}]")
        kind, target = _mapping_target(example, where, label_column)
    elif isinstance(example, tuple | list) and len(example) == 2:
        text = check_text(example[0], f"{where}[0]")
        kind, target = _target(example[1], f"{where}[1]")
    else:
        raise TypeError(
            f"{where} must be a (text, label) pair or a dict, not {type(example).__name__}"
            + (f" of {len(example)}" if isinstance(example, tuple | list) else "")
        )
    return kind, {"text": text, _FIELD[kind]: target}


def _read_rows(examples: object, name: str, text_column: str, label_column: str) -> Rows:
    if isinstance(examples, Mapping | bytes) or not isinstance(examples, Iterable):
        raise TypeError(
            f"{name} must be a path or an iterable of (text, label) pairs or dicts, "
            f"not {type(examples).__name__}"
        )
    first: Kind | None = None
    rows = []
    for index, example in enumerate(examples):
        kind, row = _row(example, f"{name}[{index}]", text_column, label_column)
        first = first or kind
        if kind != first:
            raise ValueError(f"{name}[{index}] is {kind}, but {name}[0] is {first}")
        rows.append(row)
    if first is None:
        raise ValueError(f"{name} must not be empty")
    return Rows(first, rows)


def _guess_kind(suffix: str, content: bytes, label_column: str) -> Kind:
    """The kind that the first line of a JSONL file speaks of, else single label."""
    try:
        if suffix == ".jsonl":
            row = json.loads(content.lstrip().partition(b"\n")[0])
            if isinstance(row, dict):
                return _mapping_target(row, "", label_column)[0]
    except (ValueError, TypeError, RecursionError):
        pass  # The service reads the whole file and says better what is wrong with it.
    return "single_label"


def _read_file(path: str | os.PathLike[str], name: str, label_column: str) -> File:
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise ValueError(f"{name} must be a .csv or .jsonl file, not {os.fspath(path)!r}")
    content = Path(path).read_bytes()
    if not content:
        raise ValueError(f"{name} must not be empty: {os.fspath(path)!r}")
    return File(_guess_kind(suffix, content, label_column), suffix, content)


def read_examples(
    examples: object, name: str, *, text_column: str = "text", label_column: str = "label"
) -> Rows | File:
    """Examples in whichever form, checked as far as this side can.

    Args:
        examples: See `Examples`.
        name: Of the argument, for the messages.
        text_column: Where a dict holds its text.
        label_column: Where a dict holds its label; `labels` and `value` are looked at too.

    Raises:
        OSError: The file cannot be read.
        TypeError: An example is none, or a label is an int, which could mean two things.
        ValueError: None are given, they are of several kinds, or a text cannot be sent.
    """
    if examples is None:
        raise ValueError(f"{name} must be given")
    if isinstance(examples, str | os.PathLike):
        return _read_file(examples, name, label_column)
    return _read_rows(examples, name, text_column, label_column)
