#!/bin/sh
# The table of faults: real processes under a steady load, each fault in turn, every answer checked.
# About 4 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.faults
