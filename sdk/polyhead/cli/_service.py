"""`polyhead stats`, `login` and `logout`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from .._client import Client
from .._config import DEFAULT_URL
from .._errors import APIError, AuthenticationError
from . import _login
from ._connect import connect
from ._output import Format, Printer, Style, note


def stats(context: typer.Context, style: Format = Style.AUTO) -> None:
    """What the service has done since it started, and what it runs."""
    with connect(context) as client:
        found = {**client.stats(), "info": client.info()}
    Printer(style).facts(found, _flat(found))


def _flat(values: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", "-" if value is None else value


def login(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Of the service.")] = DEFAULT_URL,
) -> None:
    """Store the service's URL and a key, asked for or read from stdin, for later commands.

    The key is in no argument: those can be seen by others. An empty one means none.
    """
    if sys.stdin.isatty():
        key: str = typer.prompt("Key (empty for none)", default="", hide_input=True, err=True)
    else:
        key = sys.stdin.readline()
    key = key.strip()
    with Client(url, key, max_retries=1) as client:
        try:
            client.info()
        except AuthenticationError as error:
            if not key:
                message = f"{url} needs a key: type it, or `polyhead login URL < file`"
                raise AuthenticationError(error.status, message) from None
            raise
        except APIError as error:
            note(f"{url} answers, but cannot be asked now: {error.message}")
    file = _login.save(_login.Login(url, key or None))
    note(f"stored in {file}")


def logout() -> None:
    """Delete what `login` stored."""
    note("forgotten" if _login.forget() else "nothing was stored")
