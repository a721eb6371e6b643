"""An encoder artifact from a backbone as it comes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bulk import embed_texts, encode_texts
from models.codes import unpack_signs
from models.loading import load_encoder
from models.source import open_source, thresholds_in
from models.training import calibrate
from models.training.backbones import BACKBONE, SHIPPED, parse_backbone
from models.training.ordinary import TASKS
from tests.unit.tiny import words, write_bert, write_mpnet

ROWS = 9  # odd: a median is then one of the values


@pytest.mark.parametrize(
    ("named", "backbone", "layers"),
    [
        (SHIPPED, BACKBONE, (-4, -3, -2, -1)),
        ("folder/all-mpnet-base-v2@-4,-3", "folder/all-mpnet-base-v2", (-4, -3)),
        ("a name", "a name", (-1,)),
        ("a@b@0", "a@b", (0,)),
    ],
)
def test_the_name_of_a_backbone(named: str, backbone: str, layers: tuple[int, ...]) -> None:
    assert parse_backbone(named) == (backbone, layers)


@pytest.mark.parametrize("named", ["@-1", "name@", "name@last", "name@-4-3"])
def test_the_name_of_no_backbone(named: str) -> None:
    with pytest.raises(ValueError, match=r"names no backbone|layers are numbers"):
        parse_backbone(named)


@pytest.mark.parametrize("write", [write_bert, write_mpnet], ids=["bert", "mpnet"])
def test_thresholds_are_the_medians_of_any_backbones_embeddings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    backbone = write(tmp_path / "backbone")
    texts = [words(1 + row % 7, start=row) for row in range(len(TASKS) * ROWS)]
    write_tasks(tmp_path / "data", texts)
    out = tmp_path / "wide"
    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(texts) + "\n")
    options = {"out": out, "backbone": f"{backbone}@-2,-1"}
    run(monkeypatch, texts=file, **options)
    of_file = thresholds_in(out)
    assert open_source(str(out)).manifest.extra["calibration"]["texts"] == len(texts)
    run(monkeypatch, data=tmp_path / "data", **options)

    manifest = open_source(str(out)).manifest
    assert (manifest.name, manifest.backbone) == ("wide", str(backbone))
    assert (manifest.layers, manifest.pooling) == ((-2, -1), "mean")
    thresholds = thresholds_in(out)
    assert thresholds is not None
    assert of_file is not None
    assert of_file.tobytes() == thresholds.tobytes()  # the same texts
    (out / "quantizer.safetensors").rename(out / "aside")
    raw = embed_texts(load_encoder(str(out), device="cpu", dtype="fp32"), texts)
    np.testing.assert_allclose(thresholds, np.median(raw, axis=0), atol=1e-5)
    (out / "aside").rename(out / "quantizer.safetensors")
    encoder = load_encoder(str(out), device="cpu", dtype="fp32")
    assert encoder.info.bits == 64
    # Half of the texts on either side of every threshold, give or take equal ones.
    share = (unpack_signs(encode_texts(encoder, texts)) > 0).mean(axis=0)
    assert 0.3 < share.min() <= share.max() < 0.7


def test_a_file_without_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n \n")
    backbone = write_bert(tmp_path / "backbone")
    with pytest.raises(ValueError, match="has no texts"):
        run(monkeypatch, texts=file, out=tmp_path / "out", backbone=backbone)


def run(monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    argv = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", ["calibrate", *argv])
    calibrate.main()


def write_tasks(data: Path, texts: list[str]) -> None:
    """The tasks that thresholds are measured on, so many texts each."""
    for number, task in enumerate(TASKS):
        (data / task).mkdir(parents=True)
        (data / task / "meta.json").write_text(json.dumps({"label_names": ["a", "b"]}))
        some = texts[number * ROWS : (number + 1) * ROWS]
        lines = "".join(json.dumps({"text": text, "label": 0}) + "\n" for text in some)
        (data / task / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
