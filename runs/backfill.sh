#!/bin/sh
# A million stored codes x 20 tasks, without an encoder pass: texts/s and memory.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.backfill
