#!/bin/sh
# Bits that batch-mates or padding change, in every profile of a CPU. About 40 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.invariance
