"""`polyhead-bulk`: the command line of bulk work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Settings
    from bulk.engines import Engine
    from bulk.run import Begun, Options, Progress

EVERY_S = 10.0  # between two lines about the progress
IN_PART, WRONG_USAGE, REFUSED = 1, 2, 4

app = typer.Typer(
    name="polyhead-bulk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Encode and predict Parquet data sets of any size, on Ray or in one process.",
    epilog="Exit codes: 0 done, 1 done in part, 2 wrong usage, 4 refused. Settings are the "
    "service's: REDIS_URL names the cache, POLYHEAD_DATA_DIR the tasks.",
)

In = Annotated[
    str, typer.Argument(metavar="IN", help="Parquet file, or folder of them: path or URL.")
]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Folder to write: path or URL.")]
TextColumn = Annotated[str, typer.Option(help="Where IN holds the text.")]
KeyColumn = Annotated[
    str, typer.Option(help="Column of IN that names a row; else OUT has `file` and `row`.")
]
Keep = Annotated[list[str] | None, typer.Option(help="Column of IN to copy; may be repeated.")]
Prefix = Annotated[str, typer.Option(help="Before the names of our columns.")]
Truncate = Annotated[
    bool,
    typer.Option("--truncate/--no-truncate", help="Cut texts over the limit of tokens."),
]
BlockRows = Annotated[
    int, typer.Option(min=1, help="Rows of a file of OUT: what a death can cost an actor.")
]
Restart = Annotated[bool, typer.Option(help="Throw away what an earlier run did.")]
Price = Annotated[
    float | None, typer.Option(min=0, help="Of all machines together, an hour: for the report.")
]
Single = Annotated[bool, typer.Option("--single", help="In this process, without Ray.")]
Address = Annotated[
    str, typer.Option(help="Of a Ray cluster; else RAY_ADDRESS, else this machine alone.")
]
Actors = Annotated[int, typer.Option(min=0, help="0: as many as there is room for.")]
Cpus = Annotated[int, typer.Option(min=1, help="Of an actor.")]
Gpus = Annotated[float, typer.Option(min=0, help="Of an actor.")]


@app.command()
def predict(
    source: In,
    out: Out,
    tasks: Annotated[
        str | None, typer.Option(help="Separated by commas; else all that have an active version.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Write the codes as well.")] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write every label's probability.")
    ] = False,
    text_column: TextColumn = "text",
    key_column: KeyColumn = "",
    keep: Keep = None,
    prefix: Prefix = "",
    truncate: Truncate = True,
    block_rows: BlockRows = 10_000,
    restart: Restart = False,
    price: Price = None,
    single: Single = False,
    address: Address = "",
    actors: Actors = 0,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
) -> None:
    """Encode every text and answer tasks about it.

    OUT has exactly one row for each of IN. After the death of an actor, a machine or this command,
    what is done stays done: the same command goes on. One encoder and one version a task answer all
    rows, or it is refused.
    """
    from bulk.run import Options

    names = None if tasks is None else tuple(filter(None, (t.strip() for t in tasks.split(","))))
    if names == ():
        _end("--tasks names none; `polyhead-bulk encode` asks none", WRONG_USAGE)
    options = Options(
        source=source,
        out=out,
        tasks=names,
        text_column=text_column,
        key_column=key_column,
        keep=tuple(keep or ()),
        prefix=prefix,
        codes=codes,
        scores=scores,
        truncate=truncate,
        block_rows=block_rows,
        restart=restart,
        price=price,
    )
    _run(options, _where(single, address, actors, cpus, gpus))


@app.command()
def encode(
    source: In,
    out: Out,
    text_column: TextColumn = "text",
    key_column: KeyColumn = "",
    keep: Keep = None,
    prefix: Prefix = "",
    truncate: Truncate = True,
    block_rows: BlockRows = 10_000,
    restart: Restart = False,
    price: Price = None,
    single: Single = False,
    address: Address = "",
    actors: Actors = 0,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
) -> None:
    """Write every text's code; ask no tasks. Otherwise as `predict`."""
    from bulk.run import Options

    options = Options(
        source=source,
        out=out,
        tasks=(),
        text_column=text_column,
        key_column=key_column,
        keep=tuple(keep or ()),
        prefix=prefix,
        codes=True,
        truncate=truncate,
        block_rows=block_rows,
        restart=restart,
        price=price,
    )
    _run(options, _where(single, address, actors, cpus, gpus))


@app.command()
def verify(source: In, out: Out) -> None:
    """Read IN and OUT, and say whether each row of IN has its one row in OUT."""
    with _errors():
        from bulk.verify import verify

        found = verify(source, out)
    print(json.dumps(found))
    if found["problems"]:
        raise typer.Exit(IN_PART)


def _where(single: bool, address: str, actors: int, cpus: int, gpus: float) -> dict[str, Any]:
    if single:
        return {}
    return {"address": address, "actors": actors, "cpus": cpus, "gpus": gpus}


def _run(options: Options, where: dict[str, Any]) -> None:
    # Ray prints what happens to its machines: stdout is for the report alone.
    with redirect_stdout(sys.stderr), _errors():
        from app.settings import Settings
        from bulk.run import go

        settings = Settings()
        if settings.redis_url is None:
            _note("no REDIS_URL: codes are not shared with a service, nor with the next run")
        with _engine(settings, where) as engine:
            found = go(options, settings, engine, _progress)
    print(json.dumps(found))


@contextmanager
def _engine(settings: Settings, where: dict[str, Any]) -> Iterator[Engine]:
    from bulk.engines import OneProcess, OnRay
    from bulk.worker import encoding

    if where:
        yield OnRay(settings, **where)
        return
    with encoding(settings) as opened:
        yield OneProcess(opened)


def _progress(begun: Begun) -> Progress:
    total = sum(block.rows for block in begun.blocks)
    resumed = done = sum(one.rows for one in begun.done.values())
    if resumed:
        _note(f"going on after {resumed:,} of {total:,} rows")
    started = last = time.monotonic()

    def say(rows: int) -> None:
        nonlocal done, last
        done += rows
        now = time.monotonic()
        if now - last >= EVERY_S:
            last = now
            pace = (done - resumed) / (now - started)
            left = (total - done) / pace
            _note(f"{done:,} of {total:,} rows, {pace:,.0f} a second, {left:,.0f} s to go")

    return say


@contextmanager
def _errors() -> Iterator[None]:
    """Say in one line what the caller can do something about."""
    # Late: all that is heavy comes with them, and --help needs none of it.
    from pydantic import ValidationError

    from bulk.plan import Refused
    from bulk.run import NotDone

    try:
        yield
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        _end(f"settings: {name}: {problem['msg']}", WRONG_USAGE)
    except Refused as error:
        _end(str(error), REFUSED)
    except NotDone as error:
        _end(f"{error}\nthe same command goes on with what is left", IN_PART)
    except OSError as error:
        _end(f"{type(error).__name__}: {error}", IN_PART)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(message: str, code: int) -> None:
    _note(f"polyhead-bulk: {message}")
    raise typer.Exit(code)
