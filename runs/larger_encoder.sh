#!/bin/sh
# A larger encoder behind the same service: all-mpnet-base-v2 (110 million weights, Apache 2.0), a
# middle and its last layer, codes of 192 bytes like those of the shipped one.
#
#   DATA=folder-of-tasks BACKBONE=…/all-mpnet-base-v2 runs/larger_encoder.sh
#
# Judges it on all 42 tasks beside MiniLM (about 90 minutes on 2 cores), makes an artifact of it with
# its int8 model (8 minutes), and measures its speed (2 minutes). ENCODER is where the artifact goes
# (out/mpnet by default); `POLYHEAD_ENCODER=out/mpnet make run` serves it.
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
: "${BACKBONE:?set BACKBONE to the folder of all-mpnet-base-v2}"
ENCODER=${ENCODER:-out/mpnet}
LAYERS=${LAYERS:--5,-1}
CACHE=${CACHE:-out/encoder/cache}
make -s .venv/bench.stamp
python=.venv/bin/python

for fold in 0 1 2; do
  $python -m models.training.encoder.unseen --data "$DATA" --cache "$CACHE" --fold $fold \
    --draws 2 --backbone "$BACKBONE@$LAYERS" --out docs/results/larger-f$fold.json
done
$python -m models.training.calibrate --data "$DATA" --backbone "$BACKBONE@$LAYERS" --out "$ENCODER"
$python -m models.training.quantize --data "$DATA" --encoder "$ENCODER"
$python -m benchmarks.encoder --data "$DATA" --no-peers --encoder "$ENCODER"
