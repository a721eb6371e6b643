#!/bin/sh
# The capacity model and the simulator: calibrated on this machine, then predicted, then measured, three
# times; a figure of that; the simulator beside an earlier run; a simulated flood; the tables of
# docs/capacity.md. About 5 minutes on a machine that is quiet, and only there of use.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
.venv/bin/python -m benchmarks.capacity_check --out docs/results/capacity.json
.venv/bin/python -m benchmarks.capacity_figure docs/results/capacity.json docs/images/capacity.svg
.venv/bin/python -m benchmarks.replay
.venv/bin/python -m benchmarks.flood
.venv/bin/python -m benchmarks.capacity_tables
