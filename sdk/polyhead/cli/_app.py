"""The command itself: its options, and the commands under it."""

from __future__ import annotations

from typing import Annotated

import typer

from .._version import __version__
from . import (
    _ask,
    _bulk,
    _compare,
    _drift,
    _head,
    _move,
    _report,
    _service,
    _settle,
    _similar,
    _versions,
)

app = typer.Typer(
    name="polyhead",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ask many questions of the same text for the price of one encoder pass.",
    epilog="Exit codes: 0 done, 1 done in part, 2 wrong usage, 3 try later, 4 refused, 5 key.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"polyhead {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(help="Of the service; else POLYHEAD_URL, else where you logged in."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and end.")
    ] = False,
) -> None:
    """What all commands share."""
    context.obj = url


app.command()(_ask.predict)
app.command()(_ask.encode)
app.command()(_similar.similar)
app.command()(_bulk.bulk)
app.command()(_head.train)
app.command()(_report.evaluate)
app.command()(_report.report)
app.command("learning-curve")(_report.learning_curve)
app.command()(_report.jobs)
app.command()(_versions.tasks)
app.command()(_versions.versions)
app.command()(_versions.promote)
app.command()(_versions.rollback)
app.command()(_compare.compare)
app.add_typer(_compare.shadow, name="shadow")
app.command()(_settle.configure)
app.command()(_settle.delete)
app.command()(_move.export)
app.command("import")(_move.import_)
app.command()(_head.retrain)
app.command()(_versions.backfill)
app.command()(_similar.suspects)
app.command()(_drift.drift)
app.command()(_service.stats)
app.command()(_service.login)
app.command()(_service.logout)
