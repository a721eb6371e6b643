"""The encoder on a GPU: texts a second by length, beside sentence-transformers, and of the peak.

    python -m benchmarks.gpu [--lengths 32,128,512] [--seconds 3] [--device cuda]

Two shapes, the paper's pair: the shipped MiniLM (6 layers, 384 wide) and a RoBERTa-large (24
layers, 1,024 wide; random weights serve for timing). Forward passes alone over rows of one length,
bf16; then from texts, tokenizing included, which shows where the tokenizer is the limit. The peak
is a large bf16 matrix product, measured here. `--device cpu --tiny` tries the script with no card.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import RobertaConfig, RobertaModel

from app.settings import DEFAULT_ENCODER
from benchmarks.machine import print_result
from benchmarks.peers import installed
from models.artifact import resolve_backbone
from models.bulk import encode_texts
from models.encoder import Encoder
from models.loading import load_encoder
from models.training.backbones import BACKBONE

VOCABULARY = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="32,128,512")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device is visible here")
    peak = matmul_peak(arguments.device, 512 if arguments.tiny else 8192)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        large = random_roberta(Path(folder), tiny=arguments.tiny)
        for name, source, backbone in (
            ("MiniLM-L6", DEFAULT_ENCODER, resolve_backbone(BACKBONE)),
            ("RoBERTa-large shape", large, large),
        ):
            encoder = load_encoder(source, backend="torch", device=arguments.device, dtype="bf16")
            encoder.warm_up()
            reference = sentence_transformer(backbone, arguments.device)
            for length in map(int, arguments.lengths.split(",")):
                row = measure(encoder, reference, length, arguments.seconds, peak)
                rows.append({"model": name, **row})
                print(json.dumps(rows[-1]), flush=True)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print_result("gpu", {"device": device, "peak_tflops": round(peak / 1e12, 1), "rows": rows})


def measure(
    encoder: Encoder, reference: Any, length: int, seconds: float, peak: float
) -> dict[str, Any]:
    """Rates of one model at one length."""
    random = np.random.default_rng(0)
    count = max(1, min(512, encoder.batching.max_tokens // length))
    rows = [random.integers(5, 1_000, length).astype(np.int32) for _ in range(count)]
    width = encoder.batching.width(length)
    passes = per_second(lambda: encoder.forward(rows, width), seconds) * count
    words = [" ".join(f"w{n}" for n in random.integers(0, 900, length - 2)) for _ in range(count)]
    texts = per_second(lambda: encode_texts(encoder, words), seconds) * count
    tokenized = per_second(lambda: encoder.tokenize(words), min(seconds, 1.0)) * count
    row = {
        "tokens": length,
        "batch": count,
        "forward_texts_per_second": round(passes, 1),
        "share_of_peak": round(passes * flops_a_text(encoder, length) / peak, 3),
        "from_text_per_second": round(texts, 1),
        "tokenizer_texts_per_second": round(tokenized, 1),
    }
    if reference is not None:
        theirs = per_second(lambda: reference.encode(words, batch_size=count), seconds) * count
        row["sentence_transformers"] = round(theirs, 1)
        row["times_sentence_transformers"] = round(texts / theirs, 2)
    return row


def flops_a_text(encoder: Encoder, length: int) -> float:
    """Multiplications and additions of the matrix products of one text's pass."""
    config = encoder._model.config  # type: ignore[attr-defined]
    hidden, inner = config.hidden_size, config.intermediate_size
    linear = 2 * length * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 2 * 2 * length * length * hidden
    return float(config.num_hidden_layers * (linear + attention))


def matmul_peak(device: str, size: int) -> float:
    """Operations a second of a square bf16 product."""
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    right = torch.randn(size, size, device=device, dtype=torch.bfloat16)

    def multiply() -> None:
        for _ in range(10):
            left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    multiply()
    return per_second(multiply, 2.0) * 10 * 2 * float(size) ** 3


def per_second(work: Callable[[], Any], seconds: float) -> float:
    """Calls a second."""
    work()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work()
        done += 1
    return done / (time.perf_counter() - started)


def random_roberta(folder: Path, *, tiny: bool) -> str:
    """A RoBERTa-large with random weights, and a tokenizer of words `w0`, `w1` and so on."""
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{n}": n + 4 for n in range(VOCABULARY - 4)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    size = (2, 64, 4, 128) if tiny else (24, 1024, 16, 4096)
    config = RobertaConfig(  # type: ignore[no-untyped-call]
        vocab_size=VOCABULARY,
        num_hidden_layers=size[0],
        hidden_size=size[1],
        num_attention_heads=size[2],
        intermediate_size=size[3],
        max_position_embeddings=514,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = RobertaModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return str(folder)


def sentence_transformer(backbone: str, device: str) -> Any:
    """sentence-transformers on the same weights in bf16, None when it is not installed."""
    if not installed("sentence_transformers"):
        return None
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    arguments = {"torch_dtype": torch.bfloat16}
    tokenizer = {"tokenizer_file": f"{backbone}/tokenizer.json"}
    words = Transformer(
        backbone, max_seq_length=512, model_kwargs=arguments, processor_kwargs=tokenizer
    )
    pooling = Pooling(words.get_embedding_dimension())
    return SentenceTransformer(modules=[words, pooling], device=device)


if __name__ == "__main__":
    main()
