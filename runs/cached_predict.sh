#!/bin/sh
# A cached text x 20 tasks over HTTP on one core, beside a bare server. About 1.5 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.cached_predict
