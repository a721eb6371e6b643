#!/bin/sh
# Wrong labels found, and the time of a search. DATA is a folder of tasks:
# TASK/train.jsonl.gz with meta.json.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.similar --data "${DATA:?set DATA to the folder of tasks}"
