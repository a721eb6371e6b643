#!/bin/sh
# Open-loop load at 25 to 300% of what the service can do, with 0 to 100% of the texts cached; then one
# client beside the flood of another. About 10 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
.venv/bin/python -m benchmarks.overload ${DATA:+--data "$DATA"}
.venv/bin/python -m benchmarks.overload ${DATA:+--data "$DATA"} --fair
