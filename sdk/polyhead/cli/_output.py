"""What commands print: tables for people, lines of JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._types import Prediction


class Style(StrEnum):
    """How results are printed."""

    AUTO = "auto"
    JSON = "json"
    TABLE = "table"


WRAPPED = ("text", "answers", "code", "description", "live texts", "neighbours")
"""Columns that may take several lines; the others are names and figures."""

Format = Annotated[
    Style,
    typer.Option("--format", "-f", help="auto: a table on a terminal, lines of JSON elsewhere."),
]


def plain(value: object) -> Any:
    """A result type as JSON's types. A prediction holds only what its kind of task sets."""
    if isinstance(value, Prediction):
        return _prediction(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def _prediction(answer: Prediction) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answer.labels is not None:
        found["labels"] = list(answer.labels)
    elif answer.value is not None:
        found["value"] = answer.value
    else:
        found |= {"label": answer.label, "score": answer.score}
    if answer.abstained:
        found["abstained"] = True
    if answer.scores is not None:
        found["scores"] = dict(answer.scores)
    return {**found, "version": answer.version}


def short(answer: Prediction) -> str:
    """An answer in a cell."""
    if answer.labels is not None:
        return ", ".join(answer.labels) or "-"
    if answer.value is not None:
        return f"{answer.value:.3g}"
    score = "" if answer.score is None else f" {answer.score:.2f}"
    return f"{'not sure' if answer.abstained else answer.label}{score}"


def printable(text: object) -> str:
    """Without control characters: a text from anywhere must not command the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))


def figure(value: float | None) -> str:
    """A share, or a dash."""
    return "-" if value is None else f"{value:.3f}"


class ReaderLeft(Exception):
    """Nobody reads our output any more, as after `| head`."""


class Printer:
    """Prints records in one style."""

    def __init__(self, style: Style) -> None:
        """Look where stdout goes."""
        self.table = style is Style.TABLE or (style is Style.AUTO and sys.stdout.isatty())
        if not self.table and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")  # JSON is, whatever the locale

    def line(self, record: object) -> None:
        """One line of JSON."""
        try:
            sys.stdout.write(json.dumps(plain(record), ensure_ascii=False) + "\n")
        except BrokenPipeError:
            raise ReaderLeft from None

    def flush(self) -> None:
        """What was printed goes out."""
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderLeft from None

    def show(
        self, records: Iterable[object], heads: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """The same as lines or as a table.

        Args:
            records: What programs get.
            heads: Titles of the table's columns.
            rows: Cells for people, in the same order.
        """
        if self.table:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for head in heads:
                table.add_column(head, overflow="fold", no_wrap=head not in WRAPPED)
            for row in rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            Console(highlight=False).print(table)
        else:
            for record in records:
                self.line(record)
        self.flush()

    def facts(self, record: object, pairs: Iterable[tuple[str, object]]) -> None:
        """One record: a line, or names with values."""
        if self.table:
            table = Table(box=None, pad_edge=False, show_header=False)
            table.add_column(style="bold")
            table.add_column(overflow="fold")
            for name, value in pairs:
                table.add_row(Text(name), Text(printable(value)))
            Console(highlight=False).print(table)
        else:
            self.line(record)
        self.flush()


def note(message: str) -> None:
    """A line for people, on stderr."""
    print(f"polyhead: {message}", file=sys.stderr, flush=True)
