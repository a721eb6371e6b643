#!/bin/sh
# Uncached texts a second over HTTP, closed and open loop. About 5 minutes. INFINITY: the Python of an
# environment with `pip install torch==2.13.0 "infinity-emb[torch,server]==0.0.78"`, to measure it too.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
.venv/bin/python -m benchmarks.serve_encode ${DATA:+--data "$DATA"} ${INFINITY:+--infinity "$INFINITY"}
.venv/bin/python -m benchmarks.serve_encode ${DATA:+--data "$DATA"} --open-loop
