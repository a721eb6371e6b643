"""The service as a model of mteb, the Massive Text Embedding Benchmark. Needs mteb.

import mteb
from polyhead.mteb import PolyheadModel

mteb.evaluate(PolyheadModel(), mteb.get_tasks(tasks=["Banking77Classification"]))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from numpy.typing import NDArray

from ._client import Client
from ._types import Precision


class PolyheadModel(AbsEncoder):
    """Vectors of the running service: mteb's prompts and device mean nothing to it.

    Args:
        base_url: Of the service; None reads `POLYHEAD_URL`, then `http://127.0.0.1:8080`.
        precision: `"code"`: the bits as ±1/√bits. `"full"`: the encoder's float vectors.

    Attributes:
        mteb_model_meta: The encoder's name, and its fingerprint as the revision, so that results
            of two encoders are kept apart.

    Raises:
        PolyheadError: The service cannot be asked what it runs.
    """

    def __init__(self, base_url: str | None = None, precision: Precision = "code") -> None:
        """Ask the service what it runs."""
        self._base_url = base_url
        self._precision: Precision = precision
        with Client(base_url) as client:
            encoder = client.info()["encoder"]
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"polyhead/{encoder['name']}-{precision}",
                "revision": encoder["fingerprint"],
                "embed_dim": encoder["bits"],
                "max_tokens": float(encoder["max_tokens"]),
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": False,
            }
        )

    def encode(self, inputs: Any, **options: Any) -> NDArray[np.float32]:
        """Vectors of all texts.

        Args:
            inputs: mteb's batches, each with a list of texts under `"text"`.
            options: What mteb says of the task; the vectors do not depend on it.

        Returns:
            `(n, bits)` float32, of unit length.

        Raises:
            PolyheadError: See the error tree.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        with Client(self._base_url) as client:
            vectors = client.embed(texts, precision=self._precision)
        return np.array(vectors.items, dtype=np.float32)
