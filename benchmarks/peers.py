"""The peers of benchmarks/encoder.py: the same MiniLM weights in other engines, in this process.

Each is a function from texts to something, tokenizing included, made ready and warmed up. Those
whose library is not installed are left out.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.artifact import resolve_backbone
from models.training.backbones import BACKBONE

Runner = Callable[[Sequence[str]], Any]


def sentence_transformers(threads: int) -> Runner:
    """`SentenceTransformer(path).encode(texts)`: as it comes (fp32, batches of 32)."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(resolve_backbone(BACKBONE), device="cpu")
    return lambda texts: model.encode(list(texts))


def bare_openvino_int8(threads: int, calibration: Sequence[str]) -> dict[str, Runner]:
    """The loop that an OpenVINO user writes: convert, quantize, sort, batch, infer.

    `convert_model` on transformers' model with mean pooling, NNCF's transformer preset, `infer` in
    a loop over sorted batches (one stream, all threads), and an async loop with a stream a core.
    """
    import nncf
    import openvino as ov
    import torch
    from transformers import AutoModel

    logging.getLogger("nncf").setLevel(logging.ERROR)
    path = resolve_backbone(BACKBONE)

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(path, attn_implementation="eager").eval()

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).float()
            pooled: torch.Tensor = (states * weights).sum(1) / weights.sum(1)
            return pooled

    example = torch.ones(2, 16, dtype=torch.long)
    graph = ov.convert_model(
        Pooled(),
        example_input=(example, example),
        input=[("ids", [-1, -1], ov.Type.i64), ("mask", [-1, -1], ov.Type.i64)],
    )
    tokenizer = _tokenizer(path)
    feeds = [_arrays([e.ids]) for e in tokenizer.encode_batch(list(calibration))]
    quantized = nncf.quantize(
        graph,
        nncf.Dataset(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(feeds),
    )
    runners: dict[str, Runner] = {}
    for name, streams in (("1 stream", 1), (f"{threads} streams", threads)):
        compiled = ov.Core().compile_model(
            quantized, "CPU", {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads}
        )
        for batch in (8, 16, 32, 64):
            runners[f"{name}, batches of {batch}"] = _loop(compiled, tokenizer, batch, streams)
    return runners


def _loop(compiled: Any, tokenizer: Tokenizer, batch: int, streams: int) -> Runner:
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        requests.put(compiled.create_infer_request())
    workers = ThreadPoolExecutor(streams)

    def infer(arrays: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        request = requests.get()
        try:
            request.infer(arrays)
            output: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
            return output
        finally:
            requests.put(request)

    def run(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        return list(workers.map(infer, _sorted_batches(tokenizer, texts, batch)))

    return run


def onnxruntime(threads: int) -> dict[str, Runner]:
    """ONNX Runtime, fp32 and with its dynamic int8 quantization; sorted batches of 32."""
    import onnxruntime as ort
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    path = resolve_backbone(BACKBONE)
    model = AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    tokenizer = _tokenizer(path)
    example = torch.ones(2, 16, dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    runners = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = f"{folder}/model.onnx", f"{folder}/int8.onnx"
        torch.onnx.export(
            model,
            (example, example),
            plain,
            input_names=["ids", "mask"],
            output_names=["states"],
            dynamic_axes={"ids": axes, "mask": axes, "states": axes},
            dynamo=False,
        )
        quantize_dynamic(plain, quantized, weight_type=QuantType.QInt8)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        for name, file in (("fp32", plain), ("dynamic int8", quantized)):
            session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            runners[f"onnxruntime {name}"] = _ort_loop(session, tokenizer)
    return runners


def _ort_loop(session: Any, tokenizer: Tokenizer) -> Runner:
    def run(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        done = []
        for arrays in _sorted_batches(tokenizer, texts, 32):
            states = session.run(None, arrays)[0]
            weights = arrays["mask"][..., None].astype(np.float32)
            done.append((states * weights).sum(1) / weights.sum(1))
        return done

    return run


def _sorted_batches(
    tokenizer: Tokenizer, texts: Sequence[str], batch: int
) -> Iterator[dict[str, NDArray[np.int64]]]:
    rows = sorted((e.ids for e in tokenizer.encode_batch(list(texts))), key=len)
    for start in range(0, len(rows), batch):
        yield _arrays(rows[start : start + batch])


def _arrays(rows: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"ids": ids, "mask": mask}


def _tokenizer(path: str) -> Tokenizer:
    """With sentence-transformers' limit for these weights."""
    tokenizer = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
    limit = json.loads((Path(path) / "config.json").read_bytes())["max_position_embeddings"]
    tokenizer.enable_truncation(limit)
    tokenizer.no_padding()
    return tokenizer


def installed(name: str) -> bool:
    """Whether a library is here."""
    return importlib.util.find_spec(name) is not None
