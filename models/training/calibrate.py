"""Make an encoder artifact: thresholds at the medians of ordinary texts.

    python -m models.training.calibrate --data DATA --out models/artifacts/NAME [--trained RUN/best]
    python -m models.training.calibrate --texts FILE --out FOLDER --backbone all-mpnet-base-v2@-4,-3

The backbone is named, not copied; what training changed of it (`models.training.encoder.train`)
is stored beside the thresholds in 16-bit floats. A backbone as it comes may be any Hugging Face
encoder: a larger one gives better codes at a higher price a text.
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
from models.loading import load_profile, offers_of
from models.pooling import PoolingKind
from models.profiles import Profile
from models.source import QUANTIZER_WEIGHTS, TRAINED_WEIGHTS, Source, open_source
from models.training.backbones import SHIPPED, parse_backbone
from models.training.ordinary import add_options, described, ordinary_texts

ROWS = 400
FP32 = (Profile("openvino", "cpu", "fp32"), Profile("torch", "cpu", "fp32"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", default=SHIPPED, metavar="BACKBONE@LAYERS")
    parser.add_argument("--trained", type=Path, help="the best weights of a run that it started")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {} if arguments.trained is None else put_trained(arguments.trained, arguments.out)
    texts = ordinary_texts(arguments, ROWS)
    calibration = described(arguments, ROWS, texts) | {"statistic": "median"}
    manifest = manifest_of(arguments.out.name, arguments.backbone, about, calibration)
    source = Source(manifest, arguments.out, resolve_backbone(manifest.backbone))
    (arguments.out / QUANTIZER_WEIGHTS).unlink(missing_ok=True)
    # fp32: thresholds are part of the artifact and must not depend on this machine's profile.
    profile = next(one for one in FP32 if one.name in offers_of(source))
    encoder = load_profile(source, profile, threads=2)
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


def manifest_of(
    name: str, named: str, about: dict[str, Any], calibration: dict[str, Any]
) -> EncoderManifest:
    """The manifest of an encoder.

    Args:
        name: of the artifact.
        named: the backbone and its layers; see `parse_backbone`.
        about: what a training run says of itself; empty for a backbone as it comes.
        calibration: how the thresholds are measured.

    Raises:
        ArtifactError: there is no such backbone.
    """
    backbone, layers = parse_backbone(named)
    design = about.get("design", {"pooling": "mean", "layers": layers})
    description = f"{backbone}, one bit a dimension at its median over ordinary text."
    extra: dict[str, Any] = {"calibration": calibration}
    if about:
        description += f" Trained over {len(about['tasks'])} tasks."
        extra["training"] = {key: about[key] for key in ("tasks", "plan", "step")}
    return EncoderManifest(
        name=name,
        backbone=backbone,
        pooling=design["pooling"],
        layers=tuple(design["layers"]),
        max_tokens=open_source(resolve_backbone(backbone)).manifest.max_tokens,
        description=description,
        extra=extra,
    )


if __name__ == "__main__":
    main()
