#!/bin/sh
# What the shared encoder is compared with, over the 42 tasks: MiniLM fine-tuned for each task alone
# (the upper mark, and the teachers), distilled students of two sizes a task, and from how many tasks
# on one encoder with a head a task is cheaper than a student a task. Results in $OUT (out/baselines
# by default); the table and figure of the break-even in docs/. Stopped, it goes on where it was.
#
# On 2 cores with bf16 an estimated 4 hours (not run whole yet). SMALL=1: three tasks and few rows, into
# out/baselines-small; its figures say nothing but that it runs.
# TRAINED: folder of runs/train_encoder.sh (SIZE=full), whose ship-all was trained on all 42 tasks: heads
# on its frozen codes join the table, from the same rows.
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
make -s .venv/bench.stamp
if [ -n "${SMALL:-}" ]; then
  out=${OUT:-out/baselines-small} figure=${OUT:-out/baselines-small}/break-even
  rows='--tasks trec6 sst2 subj --train-rows 1000 --validation-rows 300 --test-rows 500 --least-steps 90'
  general='--general-rows 100 --least-steps 180' timing='--texts 64 --rounds 3 --no-large'
else
  out=${OUT:-out/baselines} figure=docs/break-even
  rows='' general='' timing=''
fi

# A line a task in finetuned.jsonl, the teachers' logits in teachers/.
# shellcheck disable=SC2086  # options are words
.venv/bin/python -m models.training.encoder.finetune --data "$DATA" --out "$out" $rows

# Each size first learns MiniLM's embeddings of all tasks' training texts (students/), then a student
# a task (distilled-SIZE.jsonl). Ends with the mean accuracies.
# shellcheck disable=SC2086
.venv/bin/python -m models.training.encoder.distill --data "$DATA" --out "$out" \
  --cache "$out/embeddings" $general

# The shared encoder on the tasks that it was trained on (seen.json, encoder.jsonl). An hour of one core.
if [ -n "${TRAINED:-}" ]; then
  .venv/bin/python -m models.training.encoder.unseen --data "$DATA" --cache "$TRAINED/cache" \
    --train-rows 4000 --validation-rows 500 --test-rows 1000 --shots \
    --trained "$TRAINED/ship-all/best" --out "$out/seen.json" --lines "$out/encoder.jsonl"
fi

# Needs the machine for itself.
# shellcheck disable=SC2086
.venv/bin/python -m benchmarks.break_even --data "$DATA" --students "$out/students" --out "$figure" \
  --accuracy 3x384="$out/distilled-3x384.jsonl" --accuracy 2x192="$out/distilled-2x192.jsonl" \
  ${TRAINED:+--accuracy encoder="$out/encoder.jsonl"} $timing
