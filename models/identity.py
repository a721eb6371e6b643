"""What decides a code, and the digest of it: device, numeric profile, weights, fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from tokenizers import Tokenizer

from models.artifact import EncoderManifest, digest_file, digest_json
from models.buckets import BUCKETS


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA when there is a card, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the hardware multiplies it natively, else fp32.

    Raises:
        ValueError: `dtype` is none of auto, bf16, fp32.
    """
    known = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if dtype != "auto":
        if dtype not in known:
            raise ValueError(f"unknown dtype {dtype!r}; known: auto, bf16, fp32")
        return known[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    has_bf16 = capability.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def profile_name(device: torch.device, dtype: torch.dtype) -> str:
    """The numeric profile, part of the fingerprint: such as `torch-cpu-bf16`."""
    short = {torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    return f"torch-{device.type}-{short}"


def fingerprint_of(
    manifest: EncoderManifest, profile: str, backbone_digest: str, quantizer_digest: str
) -> str:
    """Fingerprint, 32 hex characters: whatever decides a code is in here, and nothing else.

    Args:
        manifest: names and descriptions are left out; they decide nothing.
        profile: see `profile_name`.
        backbone_digest: see `digest_backbone`.
        quantizer_digest: digest of the thresholds.
    """
    return digest_json(
        {
            "backbone": backbone_digest,
            "quantizer": quantizer_digest,
            "pooling": manifest.pooling,
            "layers": list(manifest.layers),
            "max_tokens": manifest.max_tokens,
            "prompt": manifest.prompt,
            "profile": profile,
            "buckets": list(BUCKETS),
        }
    )[:32]


def digest_backbone(model: torch.nn.Module, tokenizer: Tokenizer, path: Path) -> str:
    """Digest of weights and tokenizer: of the files when local, of the loaded state when not.

    Files are preferred because their bytes do not change with a library's release.
    """
    files = [path / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
    if all(file.is_file() for file in files):
        return digest_json([digest_file(file) for file in files])
    state = hashlib.sha256(tokenizer.to_str().encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("pooler."):
            continue  # not used, and random where the checkpoint has none
        state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()


def device_name(device: torch.device) -> str:
    """The card's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
