"""Options that several commands share, and the client behind them."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from .._client import Client
from .._errors import PolyheadError
from . import _login


def connect(context: typer.Context, *, max_retries: int = 4, max_concurrency: int = 4) -> Client:
    """A client of the chosen service.

    Raises:
        ValueError: The URL is none, or the stored login cannot be used.
    """
    chosen = _login.choose(context.obj)
    # "" is no key: None would read the environment, which `choose` did, with the stored key.
    return Client(
        chosen.url, chosen.key or "", max_retries=max_retries, max_concurrency=max_concurrency
    )


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of tasks for the shell's completion; none if the service does not say quickly."""
    with suppress(PolyheadError, ValueError, OSError):
        chosen = _login.choose(context.find_root().params.get("url"))
        with Client(chosen.url, chosen.key or "", timeout=2, max_retries=0) as client:
            *done, last = incomplete.split(",")
            found = (task.name for task in client.tasks.list())
            return [",".join([*done, name]) for name in found if name.startswith(last)]
    return []


def split_names(value: str) -> list[str]:
    """`a,b` to names, each once."""
    names = list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter("no task is named")
    return names


Tasks = Annotated[
    str | None,
    typer.Option("--tasks", "-t", help="Names with commas; else all.", autocompletion=_names),
]
TaskName = Annotated[str, typer.Argument(help="Name of the task.", autocompletion=_names)]
TaskOption = Annotated[str, typer.Option("--task", help="Name of the task.", autocompletion=_names)]


def names_of(tasks: str | None) -> list[str] | None:
    """`--tasks` as the client takes it."""
    return None if tasks is None else split_names(tasks)
