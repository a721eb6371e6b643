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


def _numbers(context: typer.Context, incomplete: str) -> list[str]:
    """Versions of the task that is named already, for the shell's completion."""
    task = context.params.get("task")
    with suppress(PolyheadError, ValueError, OSError):
        chosen = _login.choose(context.find_root().params.get("url"))
        with Client(chosen.url, chosen.key or "", timeout=2, max_retries=0) as client:
            found = client.tasks.get(str(task)).versions
            return [str(one.version) for one in found if str(one.version).startswith(incomplete)]
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


Number = Annotated[
    int | None,
    typer.Argument(help="Its number.", min=1, show_default=False, autocompletion=_numbers),
]


def chosen_version(client: Client, task: str, version: int | None) -> int:
    """The version that is named, else the active one.

    Raises:
        ValueError: None is named and none is active.
    """
    if version is None:
        version = client.tasks.get(task).active_version
    if version is None:
        raise ValueError(f"no version of {task} is active: name one")
    return version


def names_of(tasks: str | None) -> list[str] | None:
    """`--tasks` as the client takes it."""
    return None if tasks is None else split_names(tasks)
