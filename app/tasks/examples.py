"""Labelled examples, from JSON or an uploaded CSV/JSONL, to texts and targets. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.errors import BadRequest, InvalidField, from_validation
from app.schemas import Example
from models.head_artifact import MAX_LABELS
from models.head_runtime import TaskKind

LABEL_SEPARATOR = "|"  # between the labels of one multi-label row of a CSV
MAX_LABEL_CHARS = 256
MAX_VALUE = 1e12


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with targets: label names (one a text), lists of names, or floats."""

    texts: list[str]
    targets: list[Any]

    def __len__(self) -> int:
        return len(self.texts)


NONE = Examples([], [])


def from_json(examples: Sequence[Example], kind: TaskKind, name: str = "examples") -> Examples:
    """Examples of a JSON request.

    Raises:
        InvalidField: a row lacks what this kind of task needs; the message names the row.
    """
    field = {"single_label": "label", "multi_label": "labels", "regression": "value"}[kind]
    targets = []
    for place, example in enumerate(examples):
        target = getattr(example, field)
        if target is None:
            where = f"{name}[{place}].{field}"
            raise InvalidField(f"{where} is needed for a {kind} task", param=where)
        targets.append(target)
    return _checked([example.text for example in examples], targets, kind, name)


def from_upload(
    data: bytes,
    filename: str,
    kind: TaskKind,
    *,
    text_column: str,
    label_column: str,
    name: str = "file",
) -> Examples:
    """Examples of an uploaded file: CSV with a header, or one JSON object a line.

    In a CSV of a multi-label task the labels of a row are separated by `|`.

    Raises:
        BadRequest: not UTF-8, or not what its name says.
        InvalidField: a column is missing or a row cannot be used; the message names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name}: not UTF-8 at byte {error.start}", param=name) from error
    if "\x00" in text:
        raise BadRequest(f"{name}: holds NUL characters", param=name)
    if filename.lower().endswith((".jsonl", ".ndjson")):
        return _from_jsonl(text, kind, name)
    if filename.lower().endswith((".csv", ".tsv")):
        return _from_csv(text, kind, text_column, label_column, name)
    raise InvalidField(f"{name}: expected a name ending in .csv, .tsv or .jsonl", param=name)


def label_names(examples: Examples, kind: TaskKind, given: Sequence[str]) -> list[str]:
    """The task's labels: as given, or those of the examples, sorted.

    Raises:
        InvalidField: an example has a label that is not among the given ones, or there are too
            many, or too few to tell apart.
    """
    if kind == "regression":
        return ["value"]
    used: set[str] = set()
    for target in examples.targets:
        used.update([target] if kind == "single_label" else target)
    if given:
        unknown = sorted(used - set(given))
        if unknown:
            raise InvalidField(
                f"label {unknown[0][:80]!r} is not one of the task's {len(given)} labels",
                param="examples",
                code="unknown_label",
            )
        return list(given)
    if len(used) > MAX_LABELS:
        raise InvalidField(f"{len(used)} labels are over the limit of {MAX_LABELS}")
    if not used or (kind == "single_label" and len(used) < 2):
        raise InvalidField("examples of at least two labels are needed", param="examples")
    return sorted(used)


def target_array(examples: Examples, kind: TaskKind, labels: Sequence[str]) -> NDArray[Any]:
    """Targets as `models.training.heads.train_head` takes them."""
    if kind == "regression":
        return np.array(examples.targets, dtype=np.float64)
    index = {label: place for place, label in enumerate(labels)}
    if kind == "single_label":
        return np.array([index[target] for target in examples.targets], dtype=np.int64)
    matrix = np.zeros((len(examples), len(labels)), dtype=np.int64)
    for row, names in enumerate(examples.targets):
        matrix[row, [index[name] for name in names]] = 1
    return matrix


def _from_jsonl(text: str, kind: TaskKind, name: str) -> Examples:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(Example.model_validate_json(line))
        except ValidationError as error:
            problem = from_validation(error)
            raise InvalidField(f"{name}, line {number}: {problem.message}", param=name) from error
    return from_json(rows, kind, name)


def _from_csv(
    text: str, kind: TaskKind, text_column: str, label_column: str, name: str
) -> Examples:
    rows = _csv_rows(text, name)
    _, header = next(rows, (1, []))
    columns = [column.strip() for column in header]
    for wanted in (text_column, label_column):
        if columns.count(wanted) != 1:
            raise InvalidField(
                f"{name}: needs one column {wanted[:80]!r} in its header, which has "
                f"{len(columns)} columns",
                param=name,
            )
    text_place, label_place = columns.index(text_column), columns.index(label_column)
    read = _target_reader(kind)
    texts, targets = [], []
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(columns):
            raise InvalidField(
                f"{name}, line {line}: {len(row)} columns where the header has {len(columns)}",
                param=name,
            )
        try:
            targets.append(read(row[label_place].strip()))
        except ValueError as error:
            where = f"{name}, line {line}: {label_column[:80]}"
            raise InvalidField(f"{where}: not a number", param=name) from error
        texts.append(row[text_place])
    return _checked(texts, targets, kind, name)


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    # A field as long as the whole file: the upload's own limit is the bound.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise BadRequest(f"{name}, line {reader.line_num}: {error}", param=name) from error


def _target_reader(kind: TaskKind) -> Callable[[str], Any]:
    if kind == "regression":
        return float
    if kind == "multi_label":
        return lambda cell: [part.strip() for part in cell.split(LABEL_SEPARATOR) if part.strip()]
    return lambda cell: cell


def _checked(texts: list[str], targets: list[Any], kind: TaskKind, name: str) -> Examples:
    if not texts:
        raise BadRequest(f"{name} holds no examples", param=name, code="empty_input")
    for place, (text, target) in enumerate(zip(texts, targets, strict=True)):
        if not text or text.isspace():
            raise BadRequest(f"{name}[{place}]: the text is empty", param=name, code="empty_input")
        if kind == "regression":
            if not np.isfinite(target):
                raise InvalidField(f"{name}[{place}]: the value is not finite", param=name)
            if abs(target) > MAX_VALUE:
                raise InvalidField(
                    f"{name}[{place}]: the value is not within ±{MAX_VALUE:g}", param=name
                )
            continue
        for label in [target] if kind == "single_label" else target:
            if not label or len(label) > MAX_LABEL_CHARS:
                raise InvalidField(
                    f"{name}[{place}]: a label needs 1 to {MAX_LABEL_CHARS} characters", param=name
                )
    return Examples(texts, targets)
