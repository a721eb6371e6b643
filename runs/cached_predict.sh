#!/bin/sh
# Cached texts over HTTP on one core, single and 256 a request, beside a bare server. About 5 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.cached_predict
