"""The encoder by torch: on a GPU, or on a CPU for any Hugging Face encoder.

Every forward pass has one of a few fixed lengths (`models.packing.BUCKETS`), so that a text meets
the same shapes whatever its batch-mates are: that keeps its code the same alone and in any batch.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, cast, get_args

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModel, AutoTokenizer

from models.artifact import ArtifactError, EncoderManifest, read_tensors
from models.cuda_graphs import CudaGraphs, shapes_to_capture
from models.distances import distance_buckets
from models.encoder import EncodedBatch, EncoderInfo
from models.identity import digest_files, digest_thresholds, fingerprint_of, with_trained
from models.packing import BatchRule, buckets_up_to
from models.pooling import PoolingKind, pool_layers
from models.profiles import Profile
from models.quantizer import SignQuantizer
from models.source import check_limit, position_limit
from models.tokenization import TextTokenizer
from models.tokens import Ids, Tokens, pad_rows

logger = logging.getLogger(__name__)

CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 32_768
THREE_DIMENSIONAL_MASKS = {"bert", "roberta", "xlm-roberta", "camembert"}
# Their layers lie in `encoder.layer`, and nothing comes after the last.
PLAIN_STACKS = {*THREE_DIMENSIONAL_MASKS, "mpnet"}
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class TorchEncoder:
    """Text to code by torch.

    Args:
        manifest: what to load.
        backbone: path or hub name of the weights.
        profile: one of this backend.
        thresholds: `(bits,)` float32; None for plain signs.
        trained: file of weights in place of the backbone's own.
        threads: of torch, on a CPU.

    Raises:
        ArtifactError: weights are missing or do not belong together.
    """

    def __init__(
        self,
        manifest: EncoderManifest,
        backbone: str,
        profile: Profile,
        thresholds: NDArray[np.float32] | None = None,
        *,
        trained: Path | None = None,
        threads: int = 1,
    ) -> None:
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        self.device = torch.device(profile.device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads)
        model, config = _load_model(backbone)
        if trained is not None:
            _put_trained(model, trained)
        check_limit(manifest, config.to_dict())
        self._pad_id = int(config.pad_token_id or 0)
        _check_layers(manifest.layers, config.num_hidden_layers + 1)
        self._pooling: PoolingKind = _pooling_kind(manifest.pooling)
        self._layers = tuple(layer % (config.num_hidden_layers + 1) for layer in manifest.layers)
        self._wide_mask = config.model_type in THREE_DIMENSIONAL_MASKS
        self._tokenizer, tokenizer_json = _load_tokenizer(backbone, manifest)
        of_files = digest_files(Path(backbone))
        backbone_digest = (
            with_trained(of_files, trained) if of_files else _digest_state(model, tokenizer_json)
        )
        width = config.hidden_size * len(manifest.layers)
        if thresholds is None:
            thresholds = np.zeros(width, dtype=np.float32)
        if thresholds.shape != (width,):
            raise ArtifactError(f"the quantizer is {len(thresholds)} wide, the embedding {width}")
        if config.model_type in PLAIN_STACKS:
            # Layers over the highest that is read would be worked out for nobody.
            model.encoder.layer = model.encoder.layer[: max(1, *self._layers)]
        if config.model_type == "mpnet":
            _look_distances_up(model.encoder, position_limit(config.to_dict()))
        self._model = model.eval().to(self.device, _DTYPES[profile.dtype])
        self._quantizer = SignQuantizer(torch.from_numpy(thresholds)).to(self.device)
        buckets = buckets_up_to(manifest.max_tokens, position_limit(config.to_dict()))
        on_gpu = self.device.type == "cuda"
        # On a GPU two threads take turns: one batch is padded and copied while the other runs.
        self.batching = BatchRule(
            GPU_BATCH_TOKENS if on_gpu else CPU_BATCH_TOKENS,
            workers=2 if on_gpu else 1,
            buckets=buckets,
        )
        self._turn = Lock()
        self._graphs = CudaGraphs(self._run, self.device) if on_gpu else None
        self.info = EncoderInfo(
            name=manifest.name,
            fingerprint=fingerprint_of(
                manifest,
                profile.name,
                backbone_digest,
                digest_thresholds(thresholds.tolist()),
                buckets=buckets,
            ),
            bits=self._quantizer.bits,
            max_tokens=manifest.max_tokens,
            device=torch.cuda.get_device_name(self.device) if on_gpu else "cpu",
            profile=profile.name,
        )

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See `models.encoder.Encoder.tokenize`."""
        return self._tokenizer(texts)

    def forward(self, rows: Sequence[Ids], width: int, embeddings: bool = False) -> EncodedBatch:
        """See `models.encoder.Encoder.forward`. `width` is one of the buckets."""
        padded = (torch.from_numpy(array) for array in pad_rows(rows, width, self._pad_id))
        if self.device.type == "cuda":
            padded = (tensor.pin_memory() for tensor in padded)
        ids, mask = padded
        with self._turn, torch.inference_mode():
            centred, codes = self._pass(ids, mask)
            floats = centred.float().cpu().numpy() if embeddings else None
            return EncodedBatch(codes.cpu().numpy(), floats)

    def warm_up(self) -> None:
        """One pass a length bucket: kernels are chosen and memory is taken before traffic comes."""
        buckets = self.batching.buckets or ()
        for length in buckets:
            self.forward([np.full(length, self._pad_id, dtype=np.int32)], length)
        if self._graphs is not None:
            with self._turn, torch.inference_mode():
                shapes = shapes_to_capture(buckets, self.batching.max_tokens)
                self._graphs.capture(shapes, self._pad_id)

    def _pass(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Centred embeddings and codes, on the device, of ids and mask on the host."""
        replayed = None if self._graphs is None else self._graphs.run(ids, mask)
        if replayed is not None:
            return replayed
        return self._run(
            ids.to(self.device, non_blocking=True), mask.to(self.device, non_blocking=True)
        )

    def _run(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pass itself. On a GPU it does not wait for the device: it may be captured."""
        seen = mask
        if self.device.type == "cuda" and self._wide_mask:
            # transformers reads a two-dimensional mask on the host, to leave it out when all ones.
            seen = mask[:, None, :].expand(-1, mask.shape[1], -1)
        hidden = self._model(
            input_ids=ids, attention_mask=seen, output_hidden_states=True
        ).hidden_states
        pooled = pool_layers(hidden, mask, self._pooling, self._layers)
        centred = self._quantizer.centre(pooled)
        return centred, self._quantizer.pack(centred)


def _load_model(backbone: str) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(backbone)
        # Never pickles, never remote code: only safetensors are read.
        model, loading = AutoModel.from_pretrained(
            backbone,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"cannot load backbone {backbone!r}: {error}") from error
    # A pooler on top is never used here; any other weight that is missing would be random.
    missing = {key for key in loading["missing_keys"] if not key.startswith("pooler.")}
    if missing:
        raise ArtifactError(f"backbone {backbone!r} lacks weights: {min(missing)}, …")
    return model, config


def _look_distances_up(encoder: Any, positions: int) -> None:
    """MPNet's buckets of distances from a table on the device.

    Its own way makes them on the host at every pass, which waits for the device and keeps passes
    from being captured.
    """
    buckets = distance_buckets(positions, encoder.config.relative_attention_num_buckets)
    places = np.arange(positions)
    table = buckets[places[None, :] - places[:, None] + positions - 1]
    encoder.register_buffer("distance_buckets", torch.from_numpy(table), persistent=False)

    def bias(states: torch.Tensor) -> torch.Tensor:
        width = states.shape[1]
        found = encoder.relative_attention_bias(encoder.distance_buckets[:width, :width])
        each: torch.Tensor = found.permute(2, 0, 1)[None]
        return each.expand(len(states), -1, -1, -1)

    encoder.compute_position_bias = bias


def _put_trained(model: Any, file: Path) -> None:
    """Load trained weights over the backbone's own."""
    tensors = {name: torch.from_numpy(value) for name, value in read_tensors(file).items()}
    try:
        unexpected = model.load_state_dict(tensors, strict=False).unexpected_keys
    except RuntimeError as error:  # shapes differ
        raise ArtifactError(f"{file.name} does not fit the backbone: {error}") from error
    if unexpected:
        raise ArtifactError(f"{file.name} holds {unexpected[0]}, the backbone none")


def _load_tokenizer(backbone: str, manifest: EncoderManifest) -> tuple[TextTokenizer, str]:
    """The tokenizer, and its definition as JSON."""
    limits = (manifest.max_tokens, manifest.prompt, manifest.long_texts)
    file = Path(backbone) / "tokenizer.json"
    if file.is_file():
        return TextTokenizer(file, *limits), file.read_text(encoding="utf-8")
    try:
        fast = AutoTokenizer.from_pretrained(backbone, use_fast=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot load the tokenizer of {backbone!r}: {error}") from error
    if not fast.is_fast:
        raise ArtifactError(f"{backbone} has no fast tokenizer")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(fast.backend_tokenizer.to_str(), encoding="utf-8")
        return TextTokenizer(file, *limits), file.read_text(encoding="utf-8")


def _digest_state(model: torch.nn.Module, tokenizer: str) -> str:
    """Digest of a backbone that has no local files: of its loaded weights and tokenizer."""
    state = hashlib.sha256(tokenizer.encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("pooler."):
            continue  # not used, and random where the checkpoint has none
        state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()


def _check_layers(layers: Sequence[int], count: int) -> None:
    if not layers or not all(-count <= layer < count for layer in layers):
        raise ArtifactError(f"the backbone has {count} hidden states, not all of {list(layers)}")


def _pooling_kind(name: str) -> PoolingKind:
    for kind in get_args(PoolingKind):
        if name == kind:
            return cast(PoolingKind, kind)
    raise ArtifactError(f"unknown pooling {name!r}; known: mean, first, max")
