"""models.encoder: its pure parts, and the shipped encoder on a few texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import identity as module
from models.artifact import ArtifactError, EncoderManifest
from models.codes import pack_bits
from models.encoder import Encoder, pad_rows
from models.identity import choose_dtype, fingerprint_of, profile_name

MANIFEST = EncoderManifest("name", "backbone", layers=(-2, -1), max_tokens=64)
CPU = torch.device("cpu")


@given(st.lists(st.lists(st.integers(0, 2**62), max_size=6), max_size=5), st.integers(6, 9))
def test_pad_rows_equals_padding_lists(rows: list[list[int]], length: int) -> None:
    ids, mask = pad_rows([np.array(row, dtype=np.int64) for row in rows], length, 7)
    assert ids.dtype == mask.dtype == np.int64
    assert ids.shape == mask.shape == (len(rows), length)
    assert ids.tolist() == [row + [7] * (length - len(row)) for row in rows]
    assert mask.tolist() == [[1] * len(row) + [0] * (length - len(row)) for row in rows]


def test_pad_rows_names_the_row_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="row 1 has 5 tokens, the bucket 4"):
        pad_rows([np.arange(4), np.arange(5)], 4, 0)


def test_the_fingerprint_changes_with_every_ingredient(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(
        manifest: EncoderManifest = MANIFEST, profile: str = "p", b: str = "b", q: str = "q"
    ) -> str:
        return fingerprint_of(manifest, profile, b, q)

    prints = [
        of(),
        of(replace(MANIFEST, pooling="max")),
        of(replace(MANIFEST, layers=(-1, -2))),
        of(replace(MANIFEST, layers=(-1,))),
        of(replace(MANIFEST, max_tokens=128)),
        of(replace(MANIFEST, prompt="query: ")),
        of(profile="p2"),
        of(b="b2"),
        of(q="q2"),
        of(b="q", q="b"),
    ]
    monkeypatch.setattr(module, "BUCKETS", (*module.BUCKETS, 1024))
    prints.append(of())
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in prints)


@pytest.mark.parametrize(
    "words",
    [{"name": "other"}, {"description": "d"}, {"backbone": "moved"}, {"extra": {"a": 1}}],
    ids=str,
)
def test_the_fingerprint_does_not_change_with_words(words: dict[str, Any]) -> None:
    assert fingerprint_of(replace(MANIFEST, **words), "p", "b", "q") == fingerprint_of(
        MANIFEST, "p", "b", "q"
    )


def test_choose_dtype() -> None:
    assert choose_dtype("bf16", CPU) == torch.bfloat16
    assert choose_dtype("fp32", CPU) == torch.float32
    assert choose_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
    for unknown in ("fp16", "", "BF16", "float32"):
        with pytest.raises(ValueError, match="known: auto, bf16, fp32"):
            choose_dtype(unknown, CPU)


def test_profile_names() -> None:
    assert profile_name(CPU, torch.bfloat16) == "torch-cpu-bf16"
    assert profile_name(torch.device("cuda", 0), torch.float32) == "torch-cuda-fp32"


def test_loading_what_is_no_encoder(tmp_path: Any) -> None:
    with pytest.raises(ArtifactError):
        Encoder.load(str(tmp_path))


class TestShipped:
    """The real MiniLM, sparingly."""

    TEXTS = ("Where is my card?", "hello", "word " * 400, "naïve café 🙂")

    def test_tokens_are_cut_at_the_limit(self, encoder: Encoder) -> None:
        tokens = encoder.tokenize(self.TEXTS)
        assert [one.truncated for one in tokens] == [False, False, True, False]
        assert len(tokens[2]) == encoder.info.max_tokens
        assert all(one.ids[0] == tokens[0].ids[0] for one in tokens)  # [CLS]

    def test_codes_are_the_signs_of_the_embeddings(self, encoder: Encoder) -> None:
        rows = [one.ids for one in encoder.tokenize(self.TEXTS[:2])]
        batch = encoder.forward(rows, 16, embeddings=True)
        assert batch.embeddings is not None
        assert np.array_equal(batch.codes, pack_bits(batch.embeddings))
        assert batch.codes.shape == (2, encoder.info.bits // 8)
        assert encoder.forward(rows, 16).embeddings is None

    def test_a_code_does_not_depend_on_its_batch_mates(self, encoder: Encoder) -> None:
        rows = [one.ids for one in encoder.tokenize([*self.TEXTS[:2], "a b c", "d e f g"])]
        together = encoder.forward(rows, 16).codes
        for row, code in zip(rows, together, strict=True):
            assert np.array_equal(encoder.forward([row], 16).codes[0], code)

    def test_a_row_over_the_bucket_is_refused(self, encoder: Encoder) -> None:
        with pytest.raises(ValueError, match="the bucket 16"):
            encoder.forward([np.zeros(17, dtype=np.int64)], 16)

    def test_buckets_hold_every_length(self, encoder: Encoder) -> None:
        assert list(encoder.info.buckets) == sorted(set(encoder.info.buckets))
        assert encoder.info.buckets[-1] >= encoder.info.max_tokens
