#!/bin/sh
# Makes what is in models/artifacts: the encoder's thresholds (half a minute), then the eight ready
# heads, trained on bf16 codes and measured in bf16 and fp32 (about 7 minutes on 2 cores).
set -eu
cd "$(dirname "$0")/.."
: "${DATA:?set DATA to the folder of tasks}"
make -s .venv/dev.stamp
encoder=models/artifacts/minilm-l6-last4
.venv/bin/python -m models.training.calibrate --data "$DATA" --out "$encoder"
.venv/bin/python -m models.training.ready_heads --data "$DATA" --encoder "$encoder" \
  --out models/artifacts/heads
