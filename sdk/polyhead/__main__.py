"""`python -m polyhead`."""

import sys

from ._retrain import main

if __name__ == "__main__":
    sys.exit(main())
