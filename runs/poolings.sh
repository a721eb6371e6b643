#!/bin/sh
# The paper's table over poolings and layers: each brought to 768 bits by a projection that is
# trained through the bits over the seen tasks of a fold, and judged on tasks outside them. The
# backbone stays untrained; its hidden states (some 6 GB) are kept in CACHE.
#
#   DATA=folder-of-tasks runs/poolings.sh
#
# What differs by little gets three seeds: all poolings of the last four layers, and the mean of all
# choices of layers. Results as JSON in $OUT. On one core about an hour.
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
OUT=${OUT:-out/poolings}
make -s .venv/dev.stamp
mkdir -p "$OUT"

compare() {
  name=$1
  shift
  [ -s "$OUT/$name.json" ] || .venv/bin/python -m models.training.encoder.poolings --data "$DATA" \
    --fold "${FOLD:-0}" --cache "${CACHE:-$OUT/cache}" --threads "${THREADS:-2}" \
    --out "$OUT/$name.json" \
    --tasks sst2 cr mpqa tweeteval_sentiment financial_phrasebank trec6 sms_spam language_id "$@"
}

compare all
compare of-four-layers --layers "last four" --seeds 3
compare of-means --poolings mean --seeds 3
