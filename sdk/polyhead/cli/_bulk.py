"""`polyhead bulk`: a Parquet file of texts to one with answers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ._connect import Tasks, connect, names_of
from ._output import Format, Printer, Style, note
from ._pace import Pace

RETRIES = 20
"""Attempts after the first: about two minutes, in which a service may be started anew."""

EVERY_S = 10.0
"""Seconds between two lines about the progress, where stderr is no terminal."""


def bulk(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Parquet file with the texts.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to make.")],
    tasks: Tasks = None,
    text_column: Annotated[str, typer.Option(help="Where IN holds the text.")] = "text",
    prefix: Annotated[str, typer.Option(help="Before the names of our columns.")] = "",
    bad: Annotated[Path | None, typer.Option(help="File for bad rows; else OUT.bad.jsonl.")] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate/--no-truncate", help="Cut texts over the limit of tokens.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 4,
    part_rows: Annotated[
        int, typer.Option(min=1, help="Rows in a part: what a kill can cost.")
    ] = 10_000,
    restart: Annotated[bool, typer.Option(help="Do not go on where a run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an OUT that is there.")] = False,
    style: Format = Style.AUTO,
) -> None:
    """Answer tasks for every row of a Parquet file.

    OUT has exactly one row for each of IN, in its order: its columns, TASK and TASK_score for each
    task, and an `error` where a row has no answer. After a kill or Ctrl-C the same command goes on
    where it was. All rows are answered by the same versions and encoder, or the run stops.
    """
    # pyarrow is needed here alone, and loading it takes longer than most other commands.
    from ._bulk_parts import Parts
    from ._bulk_run import Run, choose_heads
    from ._bulk_table import Source

    started = time.monotonic()
    names = names_of(tasks)
    opened = Source(source, text_column)
    if out.exists() and out.samefile(source):
        raise ValueError("IN and OUT are the same file")
    bad = bad or out.with_name(out.name + ".bad.jsonl")
    parts = Parts(out, bad)
    with (
        connect(context, max_retries=RETRIES, max_concurrency=1) as client,
        parts.locked(),
    ):
        run = Run(
            client,
            opened,
            parts,
            choose_heads(client, names),
            text_column=text_column,
            prefix=prefix,
            truncate=truncate,
            concurrency=concurrency,
        )
        done = parts.begin(run.manifest(part_rows), restart=restart, overwrite=overwrite)
        resumed = min(done * part_rows, opened.rows)
        if done:
            note(f"going on after {resumed:,} of {opened.rows:,} rows")
        try:
            with _progress(Pace(opened.rows, resumed)) as progress:
                counts = run.go(part_rows, done, progress)
        except BaseException:
            note(f"what is done is in {parts.folder}: the same command goes on from there")
            raise
    record = {
        "out": str(out),
        "rows": counts.rows,
        "resumed_rows": counts.resumed,
        "bad_rows": counts.bad,
        "bad_file": str(bad) if counts.bad else None,
        "cached": counts.cached,
        "encoded": counts.encoded,
        "seconds": round(time.monotonic() - started, 3),
    }
    pairs = [(name.replace("_", " "), "-" if v is None else v) for name, v in record.items()]
    Printer(style).facts(record, pairs)


@contextmanager
def _progress(pace: Pace) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    lock = threading.Lock()
    if sys.stderr.isatty():
        columns = (BarColumn(), TextColumn("{task.fields[pace]}"))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=pace.total, completed=pace.done, pace=str(pace))

            def show(rows: int) -> None:
                with lock:
                    pace.add(rows)
                    bar.update(task, completed=pace.done, pace=str(pace))

            yield show
        return
    last = time.monotonic()

    def say(rows: int) -> None:
        nonlocal last
        with lock:
            pace.add(rows)
            if time.monotonic() - last >= EVERY_S:
                last = time.monotonic()
                note(str(pace))

    yield say
