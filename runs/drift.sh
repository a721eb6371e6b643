#!/bin/sh
# Drift of eight tasks: on rows like the training rows, and on foreign texts. About 10 minutes.
#   runs/drift.sh DATA
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.drift --data "${1:?folder of tasks}"
