#!/bin/sh
# The paper's method, end to end: train an encoder over many tasks, judge it on tasks that it never
# saw, and make the artifact that is served. Resumable: run it again after a stop.
#
#   DATA=folder-of-tasks runs/train_encoder.sh      small: one fold, few texts, four unseen tasks
#   SIZE=full DATA=… TEACHER=folder runs/train_encoder.sh
#       all of runs/train_encoder_jobs.json: what was compared over three folds, and the one to ship.
#       TEACHER holds all-mpnet-base-v2. On an NVIDIA H200 about 10 minutes; on 2 cores days.
#
# DATA holds a folder a task; models.training.fetch makes one of a Hugging Face data set.
# RUNS is where checkpoints and logs go (out/encoder by default).
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
RUNS=${RUNS:-out/encoder}
make -s .venv/dev.stamp
python=.venv/bin/python
mkdir -p "$RUNS"

if [ "${SIZE:-small}" = small ]; then
  # One fold, a tenth of the texts, four of its unseen tasks.
  $python -m models.training.encoder.train --data "$DATA" --cache "$RUNS/cache" \
    --out "$RUNS/small-f0" --fold 0 --steps 150 --train-rows 600 --check-every 50
  $python -m models.training.encoder.unseen --data "$DATA" --cache "$RUNS/cache" --fold 0 \
    --tasks sst2 cr trec6 sms_spam --shots 32 --draws 1 --train-rows 1000 --test-rows 500 \
    --trained "$RUNS/small-f0/best" --out "$RUNS/small-f0.json"
  best=$RUNS/small-f0/best
  artifact=$RUNS/minilm-l6-small
else
  # Every group of tasks is left out once; what is measured on it is about tasks never seen.
  $python -m models.training.encoder.sweep --data "$DATA" --cache "$RUNS/cache" --out "$RUNS" \
    --jobs runs/train_encoder_jobs.json --teacher mpnet="${TEACHER:?set TEACHER to all-mpnet-base-v2}"
  for fold in 0 1 2; do
    $python -m models.training.encoder.unseen --data "$DATA" --cache "$RUNS/cache" --fold $fold \
      --draws 2 --trained "$RUNS/final-f$fold/best" --out "$RUNS/unseen-f$fold.json"
  done
  best=$RUNS/ship-licensed/best
  artifact=$RUNS/minilm-l6-multitask
fi

# What is served: thresholds, 16-bit weights, the int8 model.
$python -m models.training.calibrate --data "$DATA" --trained "$best" --out "$artifact"
$python -m models.training.quantize --data "$DATA" --encoder "$artifact"
ls -l "$artifact" "$artifact"/openvino-int8
