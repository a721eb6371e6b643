#!/bin/sh
# Texts a second in process beside other engines, by kind of text. About 12 minutes.
set -eu
cd "$(dirname "$0")/.."
make -s .venv/bench.stamp
for kind in short mixed long; do
  texts=1024
  [ "$kind" = short ] || texts=192
  .venv/bin/python -m benchmarks.encoder --kind "$kind" --texts "$texts" ${DATA:+--data "$DATA"}
done
