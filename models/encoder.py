"""The encoder: text to code. Tokenizer, backbone, pooling, quantizer on one device.

Every forward pass has one of a few fixed lengths (`BUCKETS`), so that a text meets the same shapes
whatever its batch-mates are: that keeps its code the same alone and in any batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer

from models.artifact import (
    ArtifactError,
    EncoderManifest,
    digest_json,
    read_manifest,
    resolve_backbone,
)
from models.buckets import BUCKETS
from models.codes import Codes
from models.identity import (
    choose_device,
    choose_dtype,
    device_name,
    digest_backbone,
    fingerprint_of,
    profile_name,
)
from models.pooling import PoolingKind, pool_layers
from models.quantizer import SignQuantizer

QUANTIZER_WEIGHTS = "quantizer.safetensors"
# RoBERTa and its kin number positions from padding_idx + 1.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "data2vec-text"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenized text: `ids` is int64 `(n,)`; `truncated` when the text was cut."""

    ids: NDArray[np.int64]
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """What one forward pass gives.

    Attributes:
        codes: `(b, bits // 8)` uint8.
        embeddings: `(b, bits)` float32, centred (their signs are the bits), when asked for.
    """

    codes: Codes
    embeddings: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What identifies an encoder. `fingerprint` is the digest of all that decides a code."""

    name: str
    fingerprint: str
    bits: int
    max_tokens: int
    device: str
    profile: str
    buckets: tuple[int, ...]


class Encoder:
    """Text to code.

    `tokenize` may be called from any thread; `forward` from one thread at a time.

    Args:
        manifest: what to load.
        folder: the artifact folder with the quantizer's weights; None for plain signs.
        device: `auto`, `cpu` or `cuda`.
        dtype: `auto`, `bf16` or `fp32`.

    Raises:
        ArtifactError: weights are missing or do not belong together.
    """

    def __init__(
        self,
        manifest: EncoderManifest,
        folder: Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        # One tokenizing thread; the cores belong to the backbone.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        path = resolve_backbone(manifest.backbone)
        self.device = choose_device(device)
        self._dtype = choose_dtype(dtype, self.device)
        try:
            config = AutoConfig.from_pretrained(path)
            # Never pickles, never remote code: only safetensors are read.
            model, loading = AutoModel.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
            )
            self._tokenizer = _load_tokenizer(path)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"cannot load backbone {manifest.backbone!r}: {error}") from error
        # A pooler on top is never used here; any other weight that is missing would be random.
        missing = {key for key in loading["missing_keys"] if not key.startswith("pooler.")}
        if missing:
            raise ArtifactError(f"backbone {manifest.backbone!r} lacks weights: {min(missing)}, …")
        limit = _position_limit(config)
        if manifest.max_tokens > limit:
            raise ArtifactError(f"max_tokens {manifest.max_tokens} is over the model's {limit}")
        self._pad_id = int(config.pad_token_id or 0)
        self._tokenizer.enable_truncation(manifest.max_tokens)
        self._tokenizer.no_padding()
        self._pooling: PoolingKind = _pooling_kind(manifest.pooling)
        self._layers = manifest.layers
        self._prompt = manifest.prompt
        backbone_digest = digest_backbone(model, self._tokenizer, Path(path))
        thresholds = _thresholds(folder, config.hidden_size * len(manifest.layers))
        quantizer_digest = digest_json([float(value) for value in thresholds])
        self._model = model.eval().to(self.device, self._dtype)
        self._quantizer = SignQuantizer(thresholds).to(self.device)
        profile = profile_name(self.device, self._dtype)
        buckets = tuple(b for b in BUCKETS if b < manifest.max_tokens)
        self.digests = (backbone_digest, quantizer_digest)
        self.info = EncoderInfo(
            name=manifest.name,
            fingerprint=fingerprint_of(manifest, profile, backbone_digest, quantizer_digest),
            bits=self._quantizer.bits,
            max_tokens=manifest.max_tokens,
            device=device_name(self.device),
            profile=profile,
            buckets=(*buckets, min(limit, -(-manifest.max_tokens // 16) * 16)),
        )

    @classmethod
    def load(cls, source: str, *, device: str = "auto", dtype: str = "auto") -> Encoder:
        """Load an artifact folder, or any Hugging Face encoder by path or name.

        A bare backbone is mean-pooled over its last layer and binarized by plain signs.

        Raises:
            ArtifactError: nothing loadable there.
        """
        folder = Path(source)
        if (folder / "manifest.json").is_file():
            manifest = EncoderManifest.from_json(read_manifest(folder))
            return cls(manifest, folder, device=device, dtype=dtype)
        try:
            limit = _position_limit(AutoConfig.from_pretrained(source))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"no encoder at {source!r}: {error}") from error
        name = folder.name or source
        manifest = EncoderManifest(name=name, backbone=source, max_tokens=min(limit, 256))
        return cls(manifest, device=device, dtype=dtype)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of texts, special tokens and prompt included, cut at the limit."""
        if self._prompt:
            texts = [self._prompt + text for text in texts]
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [
            Tokens(np.asarray(encoding.ids, dtype=np.int64), bool(encoding.overflowing))
            for encoding in encodings
        ]

    def forward(
        self, rows: Sequence[NDArray[np.int64]], length: int, embeddings: bool = False
    ) -> EncodedBatch:
        """One pass.

        Args:
            rows: token ids, each at most `length` long.
            length: the padded length, one of `info.buckets`.
            embeddings: also return the float embeddings.

        Returns:
            Codes (and embeddings) in the order of `rows`.

        Raises:
            ValueError: a row is longer than `length`.
        """
        ids, mask = pad_rows(rows, length, self._pad_id)
        with torch.inference_mode():
            device_ids = self._to_device(ids)
            device_mask = self._to_device(mask)
            hidden = self._model(
                input_ids=device_ids, attention_mask=device_mask, output_hidden_states=True
            ).hidden_states
            pooled = pool_layers(hidden, device_mask, self._pooling, self._layers)
            centred = self._quantizer.centre(pooled)
            codes = self._quantizer.pack(centred).cpu().numpy()
            floats = None
            if embeddings:
                floats = centred.float().cpu().numpy()
        return EncodedBatch(codes=codes, embeddings=floats)

    def warm_up(self) -> None:
        """One pass a length bucket: kernels are chosen and memory is taken before traffic comes."""
        for length in self.info.buckets:
            self.forward([np.full(length, self._pad_id, dtype=np.int64)], length)

    def _to_device(self, array: NDArray[np.int64]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def pad_rows(
    rows: Sequence[NDArray[np.int64]], length: int, pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask as `(b, length)` int64 arrays.

    Raises:
        ValueError: a row is longer than `length`.
    """
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for index, row in enumerate(rows):
        if len(row) > length:
            raise ValueError(f"row {index} has {len(row)} tokens, the bucket {length}")
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def _load_tokenizer(path: str) -> Tokenizer:
    file = Path(path) / "tokenizer.json"
    if file.is_file():
        return Tokenizer.from_file(str(file))
    fast = AutoTokenizer.from_pretrained(path, use_fast=True)  # type: ignore[no-untyped-call]
    if not fast.is_fast:
        raise ArtifactError(f"{path} has no fast tokenizer")
    return fast.backend_tokenizer


def _thresholds(folder: Path | None, width: int) -> torch.Tensor:
    if folder is None or not (folder / QUANTIZER_WEIGHTS).is_file():
        return torch.zeros(width)
    thresholds = load_file(folder / QUANTIZER_WEIGHTS).get("thresholds")
    if thresholds is None or thresholds.shape != (width,):
        raise ArtifactError(f"{QUANTIZER_WEIGHTS} must hold `thresholds` of shape ({width},)")
    return thresholds


def _pooling_kind(name: str) -> PoolingKind:
    for kind in get_args(PoolingKind):
        if name == kind:
            return cast(PoolingKind, kind)
    raise ArtifactError(f"unknown pooling {name!r}; known: mean, first, max")


def _position_limit(config: object) -> int:
    positions = int(getattr(config, "max_position_embeddings", 512))
    if getattr(config, "model_type", "") in OFFSET_POSITIONS:
        positions -= int(getattr(config, "pad_token_id", 1) or 0) + 1
    return positions
