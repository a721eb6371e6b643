#!/bin/sh
# Bulk work: one process against a Ray cluster of three nodes on this machine. First 20,000 rows without
# a fault, then 200,000 with a node killed half-way. About 15 minutes on two free cores.
# DATA is a folder of tasks: TASK/{train,test}.jsonl.gz with meta.json.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bulk.stamp
.venv/bin/python -m benchmarks.bulk --data "${DATA:?set DATA to the folder of tasks}" --rows 20000 --no-kill
.venv/bin/python -m benchmarks.bulk --data "$DATA" --rows "${ROWS:-200000}"
