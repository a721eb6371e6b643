#!/bin/sh
# Drift of eight tasks: on rows like the training rows, and on foreign texts. About 10 minutes. Then
# what a scrape costs with as many full windows as there can be: 5 minutes.
# DATA is a folder of tasks: TASK/{train,test}.jsonl.gz with meta.json.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.drift --data "${DATA:?set DATA to the folder of tasks}"
.venv/bin/python -m benchmarks.drift_scrape
