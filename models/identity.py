"""What decides a code, and the digest of it: the fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.artifact import EncoderManifest, digest_file, digest_json

BACKBONE_FILES = ("model.safetensors", "config.json", "tokenizer.json")


def fingerprint_of(
    manifest: EncoderManifest,
    profile: str,
    backbone_digest: str,
    quantizer_digest: str,
    *,
    buckets: Sequence[int] | None = None,
) -> str:
    """Fingerprint, 32 hex characters: whatever decides a code is in here, and nothing else.

    Args:
        manifest: names and descriptions are left out; they decide nothing.
        profile: the numeric profile's name, such as `openvino-cpu-int8`.
        backbone_digest: see `digest_files`.
        quantizer_digest: see `digest_thresholds`.
        buckets: the padded lengths, where a code may depend on them.
    """
    ingredients: dict[str, object] = {
        "backbone": backbone_digest,
        "quantizer": quantizer_digest,
        "pooling": manifest.pooling,
        "layers": list(manifest.layers),
        "max_tokens": manifest.max_tokens,
        "prompt": manifest.prompt,
        "profile": profile,
        "buckets": None if buckets is None else list(buckets),
    }
    if manifest.long_texts != "cut":
        ingredients["long_texts"] = manifest.long_texts
    return digest_json(ingredients)[:32]


def digest_files(folder: Path, names: Sequence[str] = BACKBONE_FILES) -> str | None:
    """Digest of a backbone's files, None when one is missing.

    The files' bytes are taken, not the loaded weights: they do not change with a library's release.
    """
    files = [folder / name for name in names]
    if not all(file.is_file() for file in files):
        return None
    return digest_json([digest_file(file) for file in files])


def with_trained(backbone: str, trained: Path | None) -> str:
    """A backbone's digest, with that of the weights that training put in place of its own."""
    return backbone if trained is None else digest_json([backbone, digest_file(trained)])


def digest_thresholds(thresholds: Sequence[float]) -> str:
    """Digest of a quantizer's thresholds."""
    return digest_json([float(value) for value in thresholds])
