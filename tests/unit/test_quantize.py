"""The int8 serving model of an encoder, of each kind of graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.artifact import EncoderManifest
from models.bulk import embed_texts, encode_texts
from models.codes import unpack_signs
from models.loading import INT8, load_encoder, load_profile, offers_of
from models.source import open_source
from models.training import quantize
from tests.unit.tiny import words, write_bert, write_mpnet

TEXTS = [words(1 + row % 20, start=row) for row in range(120)]


@pytest.mark.parametrize("write", [write_bert, write_mpnet], ids=["bert", "mpnet"])
def test_the_int8_model_says_nearly_what_the_floats_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    backbone = write(tmp_path / "backbone", hidden_size=64, intermediate_size=96)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    manifest = EncoderManifest("tiny", str(backbone), layers=(-2, -1), max_tokens=32)
    (artifact / "manifest.json").write_text(json.dumps(manifest.to_json()))
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    assert INT8.name not in offers_of(open_source(str(artifact)))
    monkeypatch.setattr("sys.argv", ["quantize", "--texts", str(texts), "--encoder", str(artifact)])
    quantize.main()

    floats = embed_texts(load_encoder(str(artifact), device="cpu", dtype="fp32"), TEXTS)
    encoder = load_profile(open_source(str(artifact)), INT8)
    assert encoder.info.bits == 128
    # Both cut at the medians of their own values over the same texts.
    expected = floats > np.median(floats, axis=0)
    found = unpack_signs(encode_texts(encoder, TEXTS)) > 0
    assert (found == expected).mean() > 0.9
    assert (found == np.roll(expected, 1, axis=0)).mean() < 0.75
