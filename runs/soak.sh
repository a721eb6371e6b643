#!/bin/sh
# Twenty minutes (MINUTES) of mixed load with a fault a minute, every answer checked; what the
# processes hold over that time.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.soak --minutes "${MINUTES:-20}"
