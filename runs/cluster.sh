#!/bin/sh
# The whole service on a cluster of 3 + 3, two encoders, two apis: each part killed under load, every
# answer checked. About 5 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.cluster
