"""`polyhead export` and `polyhead import`: a version as one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ._connect import Number, TaskName, TaskOption, chosen_version, connect
from ._output import Format, Printer, Style, note


def export(
    context: typer.Context,
    task: TaskName,
    version: Number = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file, - for stdout; else TASK-VERSION.safetensors."),
    ] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Its stored codes and labels too, as `compare` needs.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    style: Format = Style.AUTO,
) -> None:
    """Write a version as one file, the active one if none is named."""
    with connect(context) as client:
        number = chosen_version(client, task, version)
        file = out or Path(f"{task}-{number}.safetensors")
        to_stdout = str(file) == "-"
        if to_stdout and sys.stdout.isatty():
            raise ValueError("a terminal cannot show the file: send stdout somewhere")
        if not to_stdout and file.exists() and not overwrite:
            raise ValueError(f"{file} is there already; --overwrite replaces it")
        content = client.tasks.export_version(task, number, rows=rows)
    if to_stdout:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    partial = file.with_name(file.name + ".part")
    partial.write_bytes(content)
    partial.replace(file)
    record = {"task": task, "version": number, "out": str(file), "bytes": len(content)}
    Printer(style).facts(record, [("written to", file), ("bytes", f"{len(content):,}")])


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `export` wrote; - for stdin.")],
    task: TaskOption,
    activate: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote", help="Let it answer; else only if no version does yet."
        ),
    ] = None,
    style: Format = Style.AUTO,
) -> None:
    """Add an exported version to a task as its next; the task is made if there is none."""
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    with connect(context) as client:
        found = client.tasks.import_version(task, content, activate=activate)
    record = {"task": task, "version": found.version, "active": found.active}
    told = f"version {found.version} of {task}{' (active)' if found.active else ''}"
    Printer(style).facts(record, [("imported", told)])
    if not found.active:
        note(f"another version answers still: `polyhead promote {task} {found.version}`")
