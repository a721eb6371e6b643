"""Encoders to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.training.encoder.teachers import open_teacher
from tests.unit.tiny import words, write_mpnet

TEXTS = [words(1 + n % 12, start=n) for n in range(40)]


def test_an_artifact_teaches_what_its_backbone_does(
    tiny_artifact: Callable[..., Path], tiny_bert: Path, tmp_path: Path
) -> None:
    artifact = str(tiny_artifact(layers=[-2, -1]))
    bare = open_teacher(f"{tiny_bert}@-2,-1", tmp_path / "bare", 64)(TEXTS)
    served = open_teacher(artifact, tmp_path / "served", 64)(TEXTS)
    # The machine's fastest profile may be in bf16.
    np.testing.assert_allclose(served, bare, atol=0.05)
    shorter = open_teacher(artifact, tmp_path / "served", 8)(TEXTS)
    np.testing.assert_allclose(shorter[:5], served[:5], atol=0.05)
    assert np.abs(shorter[10] - served[10]).max() > 0.05
    assert len(list((tmp_path / "served").iterdir())) == 2


def test_what_was_embedded_is_kept(tmp_path: Path) -> None:
    named = str(write_mpnet(tmp_path / "mpnet"))
    first = open_teacher(named, tmp_path / "cache", 16)(TEXTS)
    (path,) = (tmp_path / "cache").iterdir()
    np.save(path, np.zeros_like(first))
    teacher = open_teacher(named, tmp_path / "cache", 16)
    assert not teacher(TEXTS).any()
    np.testing.assert_array_equal(
        teacher(TEXTS[:30]), open_teacher(named, tmp_path, 16)(TEXTS[:30])
    )
