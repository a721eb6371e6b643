#!/bin/sh
# The main job on 2,000 real texts, 20 tasks, and a head trained on 4,000 rows. About 4 minutes.
# DATA is a folder of tasks: TASK/{train,test}.jsonl.gz with meta.json.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/dev.stamp
.venv/bin/python -m benchmarks.ag_news --data "${DATA:?set DATA to the folder of tasks}"
