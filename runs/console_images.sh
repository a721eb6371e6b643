#!/bin/sh
# Pictures of every view of the console, light, dark and at a phone's width, into out/console (or $1).
# The browser tests take them: a view that complains, is too wide or not accessible fails here.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
POLYHEAD_SCREENSHOTS="${1:-out/console}" .venv/bin/python -m pytest -q tests/browser/test_looks.py
echo "in ${1:-out/console}"
