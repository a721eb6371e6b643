"""The command line: `polyhead --help`. Needs typer and rich (`polyhead[cli]`)."""

from ._run import main

__all__ = ["main"]
