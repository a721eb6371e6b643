"""The command `polyhead`, also as `python -m polyhead`."""

from __future__ import annotations

import sys

NEEDS = ("typer", "rich", "click")


def main() -> None:
    """Run the command line; without its packages, say in one line which to install."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        print(
            f"polyhead: the command line needs {error.name}: pip install 'polyhead[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
