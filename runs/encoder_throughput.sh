#!/bin/sh
# Uncached texts a second beside sentence-transformers. About 3 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
.venv/bin/python -m benchmarks.encoder_throughput ${DATA:+--data "$DATA"}
