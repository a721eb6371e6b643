"""The encoder on a CPU by OpenVINO: no torch, no transformers.

A text's code is the same alone and in any batch: int8 products are exact, every other sum runs in a
fixed order (see `models.openvino.graph`). So texts of different lengths share batches, end to end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.artifact import ArtifactError, EncoderManifest
from models.codes import pack_bits
from models.encoder import EncodedBatch, EncoderInfo
from models.identity import digest_thresholds, fingerprint_of
from models.openvino.layout import lay_out
from models.packing import PACKED_MULTIPLE, BatchRule
from models.profiles import Profile
from models.tokenization import TextTokenizer
from models.tokens import Ids, Tokens

# Past this many tokens a core's throughput is flat, and only the wait grows.
BATCH_TOKENS = 256
# Starting a batch costs about as much as this many tokens of work.
OVERHEAD_TOKENS = 32
# What a pair of places costs in attention, as tokens of work: measured, see docs/experiments.md.
PAIR_TOKENS = 0.002
_PRECISION = {"int8": "f32", "bf16": "bf16", "fp32": "f32"}


class OpenVINOEncoder:
    """An encoder whose every worker is one core: cores do not wait for each other in a pass.

    Args:
        manifest: of the artifact.
        profile: one of this backend.
        model: the graph, or the path of a stored one.
        tokenizer: the `tokenizer.json`.
        thresholds: `(bits,)` float32.
        backbone_digest: of the files that the graph came from.
        threads: workers; one core each.
        pad_id: the padding token.

    Raises:
        ArtifactError: the model is damaged or does not fit the thresholds.
    """

    def __init__(
        self,
        manifest: EncoderManifest,
        profile: Profile,
        model: ov.Model | Path,
        tokenizer: Path,
        thresholds: NDArray[np.float32],
        backbone_digest: str,
        *,
        threads: int,
        pad_id: int = 0,
    ) -> None:
        self._tokenizer = TextTokenizer(
            tokenizer, manifest.max_tokens, manifest.prompt, manifest.long_texts
        )
        self._thresholds = thresholds
        self._pad_id = pad_id
        try:
            compiled = ov.Core().compile_model(
                model,
                "CPU",
                {
                    "NUM_STREAMS": threads,
                    "INFERENCE_NUM_THREADS": threads,
                    # Every process pins its threads to the first cores. Where it has fewer threads
                    # than cores, others like it share the machine, and would share those cores.
                    "ENABLE_CPU_PINNING": threads >= len(os.sched_getaffinity(0)),
                    "INFERENCE_PRECISION_HINT": _PRECISION[profile.dtype],
                },
            )
        except RuntimeError as error:
            raise ArtifactError(f"cannot load the OpenVINO model: {error}") from error
        width = compiled.output(0).partial_shape[1]
        if width.is_dynamic or width.get_length() != len(thresholds):
            raise ArtifactError(f"the model gives {width} values, the quantizer {len(thresholds)}")
        self._requests: SimpleQueue[ov.InferRequest] = SimpleQueue()
        self._compiled = compiled
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())
        self.batching = BatchRule(
            BATCH_TOKENS, OVERHEAD_TOKENS, workers=threads, attention=PAIR_TOKENS
        )
        self.info = EncoderInfo(
            name=manifest.name,
            fingerprint=fingerprint_of(
                manifest, profile.name, backbone_digest, digest_thresholds(thresholds.tolist())
            ),
            bits=len(thresholds),
            max_tokens=manifest.max_tokens,
            device="cpu",
            profile=profile.name,
        )

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See `models.encoder.Encoder.tokenize`."""
        return self._tokenizer(texts)

    def forward(self, rows: Sequence[Ids], width: int, embeddings: bool = False) -> EncodedBatch:
        """See `models.encoder.Encoder.forward`."""
        inputs = lay_out(rows, width, self._pad_id).inputs()
        request = self._requests.get()
        try:
            request.infer(inputs, share_inputs=True)
            centred = request.get_output_tensor(0).data - self._thresholds
        except RuntimeError:
            # Out of memory, perhaps; what it leaves half made is not for the next pass.
            request = self._compiled.create_infer_request()
            raise
        finally:
            self._requests.put(request)
        return EncodedBatch(pack_bits(centred), centred if embeddings else None)

    def warm_up(self) -> None:
        """One short and one long pass a worker: memory is taken, kernels are made."""
        for length in (PACKED_MULTIPLE, min(64, self.info.max_tokens)):
            row = np.full(length, self._pad_id, dtype=np.int32)
            for _ in range(self.batching.workers):
                self.forward([row], self.batching.width(length))
