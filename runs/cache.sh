#!/bin/sh
# The code cache alone: bytes an entry of both layouts, speed, and hit ratio under a memory limit,
# beside RedisVL and LangChain. About 15 minutes, 2 GB of memory.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
.venv/bin/python -m benchmarks.cache
.venv/bin/python -m benchmarks.cache --code-bytes 192
.venv/bin/python -m benchmarks.cache_eviction
