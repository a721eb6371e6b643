"""Make the int8 serving model of an encoder artifact: `openvino-int8/` beside its manifest.

    python -m models.training.quantize --data DATA --encoder models/artifacts/minilm-l6-multitask

NNCF's post-training quantization: int8 weights with a scale a channel, int8 activations with
static scales measured over calibration texts, so that no scale depends on a batch. The thresholds
are measured anew on the quantized model: its medians are not quite those of the floats.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.artifact import ArtifactError
from models.bulk import embed_texts
from models.loading import INT8, load_profile
from models.openvino.graph import build_graph
from models.openvino.layout import lay_out
from models.packing import PACKED_MULTIPLE, round_up
from models.source import QUANTIZER_WEIGHTS, STORED, Source, backbone_weights, open_source
from models.tokenization import TextTokenizer
from models.training.calibrate import ROWS as THRESHOLD_ROWS
from models.training.ordinary import add_options, described, ordinary_texts

ROWS_EACH = 125
# How far outliers of activations move into the weights (SmoothQuant's alpha); see experiments.md.
SMOOTH = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    source = open_source(str(arguments.encoder))
    started = time.perf_counter()
    texts = ordinary_texts(arguments, ROWS_EACH)
    graph = quantized_graph(source, texts)
    folder = arguments.encoder / STORED
    write_stored(source, graph, folder, described(arguments, ROWS_EACH, texts))
    threshold_texts = ordinary_texts(arguments, THRESHOLD_ROWS)
    thresholds = calibrate(arguments.encoder, threshold_texts, arguments.threads)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"{len(texts)} calibration texts, {size / 1e6:.1f} MB, {len(thresholds)} thresholds, "
        f"{time.perf_counter() - started:.0f} s"
    )


def quantized_graph(source: Source, texts: Sequence[str]) -> ov.Model:
    """Quantize an encoder's graph.

    Args:
        source: whose backbone is a local BERT-family model.
        texts: calibration texts; a few hundred of the kinds that will be served.

    Raises:
        ArtifactError: the backbone has no graph here.
    """
    import nncf

    # Its own way also sets the level of handlers that others attached.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    backbone = Path(source.backbone)
    manifest = source.manifest
    config = json.loads((backbone / "config.json").read_bytes())
    graph = build_graph(config, backbone_weights(source), manifest.pooling, manifest.layers)
    tokenize = TextTokenizer(backbone / "tokenizer.json", manifest.max_tokens, manifest.prompt)
    rows = [tokens.windows[0] for tokens in tokenize(texts)]
    pad_id = int(config.get("pad_token_id") or 0)
    smooth = nncf.AdvancedSmoothQuantParameters(matmul=SMOOTH)
    quantized: ov.Model = nncf.quantize(
        graph,
        nncf.Dataset([_feed(row, pad_id) for row in rows]),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(rows),
        advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
    )
    return quantized


def write_stored(
    source: Source, graph: ov.Model, folder: Path, calibration: dict[str, Any]
) -> None:
    """Write the quantized model's folder, without thresholds.

    Raises:
        ArtifactError: the backbone lacks its tokenizer.
    """
    backbone = Path(source.backbone)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ov.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    try:
        for name in ("tokenizer.json", "config.json"):
            shutil.copyfile(backbone / name, folder / name)
    except OSError as error:
        raise ArtifactError(f"cannot copy the backbone's files: {error}") from error
    how = {
        "calibration": calibration,
        "smooth_quant": SMOOTH,
        "made_with": {name: version(name) for name in ("nncf", "openvino")},
    }
    (folder / "quantization.json").write_text(json.dumps(how, indent=1) + "\n")


def calibrate(artifact: Path, texts: Sequence[str], threads: int) -> NDArray[np.float32]:
    """Write thresholds at the medians of the quantized model's own embeddings."""
    folder = artifact / STORED
    width = ov.Core().read_model(folder / "model.xml").output(0).partial_shape[1].get_length()
    save_file({"thresholds": np.zeros(width, dtype=np.float32)}, folder / QUANTIZER_WEIGHTS)
    encoder = load_profile(open_source(str(artifact)), INT8, threads)
    thresholds: NDArray[np.float32] = np.median(embed_texts(encoder, texts), axis=0)
    save_file({"thresholds": thresholds.astype(np.float32)}, folder / QUANTIZER_WEIGHTS)
    return thresholds


def _feed(row: NDArray[np.int32], pad_id: int) -> dict[str, NDArray[np.int32]]:
    # No token at the end that is none: it would be measured with the others.
    return lay_out([row], round_up(len(row), PACKED_MULTIPLE), pad_id, multiple=1).inputs()


if __name__ == "__main__":
    main()
