"""Files of labelled texts, and stdin in their place."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ._output import note

TextColumn = Annotated[str, typer.Option(help="Where files hold the text.")]
LabelColumn = Annotated[str, typer.Option(help="Where files hold the label.")]


@contextmanager
def labelled(file: Path) -> Iterator[Path]:
    """The file; for `-` a temporary one that holds the JSON lines of stdin."""
    if str(file) != "-":
        yield file
        return
    if sys.stdin.isatty():
        note("reading labelled texts as JSON lines; Ctrl-D ends")
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as rows:
        shutil.copyfileobj(sys.stdin.buffer, rows)
        rows.flush()
        yield Path(rows.name)
