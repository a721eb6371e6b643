#!/bin/sh
# From a clone to a head of one's own by the README's commands, each step timed. About 2 minutes.
# DATA is a folder of tasks: ag_news/{train,test}.jsonl.gz. What is committed is what is cloned.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" benchmarks/five_minutes.py --data "${DATA:?set DATA to the folder of tasks}" "$@"
