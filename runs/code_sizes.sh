#!/bin/sh
# Accuracy on unseen tasks against the bytes of a code, 16 to 384: projections of trained encoders to
# so many bits, learned through the bits on the seen tasks, no pass of the backbone repeated. Table
# and figure in docs/code-sizes.
#
#   DATA=folder-of-tasks TRAINED=folder-of-runs runs/code_sizes.sh
#
# TRAINED holds final-f0, -f1 and -f2 of runs/train_encoder.sh (SIZE=full). About an hour and a half
# of one core.
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
: "${TRAINED:?set TRAINED to the folder of runs}"
OUT=${OUT:-docs/results}
make -s .venv/bench.stamp
for fold in 0 1 2; do
  .venv/bin/python -m models.training.encoder.quantizers --data "$DATA" --fold $fold \
    --cache "$TRAINED/cache" --threads "${THREADS:-2}" --trained "$TRAINED/final-f$fold/best" \
    --bits 128 256 512 1024 1536 3072 --out "$OUT/sizes-f$fold.json" --seeds "${SEEDS:-1}"
done
.venv/bin/python -m benchmarks.code_sizes "$OUT" --out docs/code-sizes
