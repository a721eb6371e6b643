"""`polyhead-bulk`, which `python -m bulk` is too."""

from __future__ import annotations

import os
import sys


def main() -> None:
    # Heads are small products: threads of numpy would take the encoder's cores. Before numpy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from bulk.cli import app
    except ImportError as error:
        sys.exit(f"polyhead-bulk: {error.name} is not installed: pip install '.[bulk]'")
    app()


if __name__ == "__main__":
    main()
