#!/bin/sh
# Makes what is in models/artifacts of the best weights of a training (TRAINED, a folder `best` as of
# runs/train_encoder.sh): the encoder's thresholds and its int8 model (a minute), the
# accuracy gate of every profile (about an hour), and the eight ready heads, trained on the codes
# of the profile that is served and measured in all (about 10 minutes). Times are of 2 cores.
# `ready_heads --references` leaves the heads as they are and only writes what drift is compared with.
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
: "${TRAINED:?set TRAINED to the best weights of a training}"
make -s .venv/dev.stamp
encoder=models/artifacts/minilm-l6-multitask
.venv/bin/python -m models.training.calibrate --data "$DATA" --trained "$TRAINED" --out "$encoder"
.venv/bin/python -m models.training.quantize --data "$DATA" --encoder "$encoder"
.venv/bin/python -m models.training.gate --data "$DATA" --encoder "$encoder"
.venv/bin/python -m models.training.ready_heads --data "$DATA" --encoder "$encoder" \
  --out models/artifacts/heads
