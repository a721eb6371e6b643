"""The rows of a labelled file, counted as the service counts them. Pure but for the reading."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple


class LabelledRow(NamedTuple):
    """One row."""

    text: str
    label: str


def read_labelled(
    path: Path, text_column: str = "text", label_column: str = "label"
) -> list[LabelledRow]:
    """The rows of a `.csv` or `.jsonl` file with one label each, blank lines not counted.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file, or lacks a column.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _lines(content, path)
    first = content.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        for wanted in (text_column, label_column):
            if wanted not in header:
                raise ValueError(f"{path} has no column {wanted!r}")
        text, label = header.index(text_column), header.index(label_column)
        return [
            LabelledRow(row[text], row[label].strip()) for row in reader if len(row) == len(header)
        ]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _lines(content: str, path: Path) -> list[LabelledRow]:
    rows = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(LabelledRow(str(row["text"]), str(row["label"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{path}, line {number}: no object with text and label") from None
    return rows
