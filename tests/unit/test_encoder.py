"""models.encoder and models.identity, and the shipped encoder on a few texts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import EncoderManifest
from models.codes import pack_bits
from models.encoder import Encoder, pool_windows
from models.identity import BACKBONE_FILES, digest_files, digest_thresholds, fingerprint_of

MANIFEST = EncoderManifest("name", "backbone", layers=(-2, -1), max_tokens=64)
floats = st.floats(-100, 100, width=32)


def test_the_fingerprint_changes_with_every_ingredient() -> None:
    def of(
        manifest: EncoderManifest = MANIFEST,
        profile: str = "p",
        b: str = "b",
        q: str = "q",
        buckets: Sequence[int] | None = None,
    ) -> str:
        return fingerprint_of(manifest, profile, b, q, buckets=buckets)

    prints = [
        of(),
        of(replace(MANIFEST, pooling="max")),
        of(replace(MANIFEST, layers=(-1, -2))),
        of(replace(MANIFEST, layers=(-1,))),
        of(replace(MANIFEST, max_tokens=128)),
        of(replace(MANIFEST, prompt="query: ")),
        of(replace(MANIFEST, long_texts="windows")),
        of(profile="p2"),
        of(b="b2"),
        of(q="q2"),
        of(b="q", q="b"),
        of(buckets=()),
        of(buckets=(16, 64)),
        of(buckets=(16, 32, 64)),
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in prints)
    assert of(buckets=[16, 64]) == of(buckets=(16, 64))


@pytest.mark.parametrize(
    "told",
    [{"name": "other"}, {"description": "d"}, {"backbone": "moved"}, {"extra": {"a": 1}}],
    ids=str,
)
def test_the_fingerprint_does_not_change_with_words(told: dict[str, Any]) -> None:
    assert fingerprint_of(replace(MANIFEST, **told), "p", "b", "q") == fingerprint_of(
        MANIFEST, "p", "b", "q"
    )


def test_the_digest_of_files(tmp_path: Path) -> None:
    for name in BACKBONE_FILES:
        assert digest_files(tmp_path) is None
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    first = digest_files(tmp_path)
    assert first is not None
    (tmp_path / "README.md").write_text("decides nothing")
    assert digest_files(tmp_path) == first
    prints = {first}
    for name in BACKBONE_FILES:
        (tmp_path / name).write_bytes(b"changed " + name.encode())
        prints.add(str(digest_files(tmp_path)))
    assert len(prints) == 1 + len(BACKBONE_FILES)
    assert digest_files(tmp_path, ["README.md"]) not in {None, *prints}


def test_the_digest_of_thresholds() -> None:
    prints = [digest_thresholds(one) for one in ([0.0], [0.0, 0.0], [0.5, 0.0], [0.0, 0.5])]
    assert len(set(prints)) == len(prints)
    values = np.array([0.1, -0.25], dtype=np.float32)
    assert digest_thresholds(values.tolist()) == digest_thresholds(list(values))


@given(
    st.integers(1, 5).flatmap(
        lambda bits: st.lists(
            st.tuples(st.lists(floats, min_size=bits, max_size=bits), st.integers(1, 512)),
            min_size=1,
            max_size=16,
        )
    )
)
def test_windows_are_pooled_by_their_tokens(windows: list[tuple[list[float], int]]) -> None:
    lengths = [length for _, length in windows]
    embeddings = [np.array(values, dtype=np.float32) for values, _ in windows]
    pooled = pool_windows(embeddings, lengths)
    assert pooled.dtype == np.float32
    assert pooled.shape == embeddings[0].shape
    for bit in range(len(pooled)):
        total = sum(float(values[bit]) * length for values, length in windows)
        assert pooled[bit] == pytest.approx(total / sum(lengths), rel=1e-5, abs=1e-5)


class TestShipped:
    """The real MiniLM, sparingly."""

    TEXTS = ("Where is my card?", "hello", "word " * 1200, "naïve café 🙂")

    def rows(self, encoder: Encoder, *texts: str) -> list[Any]:
        return [one.windows[0] for one in encoder.tokenize(texts)]

    def test_tokens_are_cut_at_the_limit(self, encoder: Encoder) -> None:
        tokens = encoder.tokenize(self.TEXTS)
        assert [one.truncated for one in tokens] == [False, False, True, False]
        assert len(tokens[2]) == encoder.info.max_tokens
        assert [len(one.windows) for one in tokens] == [1] * 4
        assert {int(one.windows[0][0]) for one in tokens} == {101}  # [CLS]
        assert {int(one.windows[0][-1]) for one in tokens} == {102}  # [SEP]

    def test_codes_are_the_signs_of_the_embeddings(self, encoder: Encoder) -> None:
        rows = self.rows(encoder, *self.TEXTS[:2])
        batch = encoder.forward(rows, 16, embeddings=True)
        assert batch.embeddings is not None
        assert batch.embeddings.dtype == np.float32
        assert np.array_equal(batch.codes, pack_bits(batch.embeddings))
        assert batch.codes.shape == (2, encoder.info.bits // 8)
        assert encoder.forward(rows, 16).embeddings is None

    def test_a_code_does_not_depend_on_its_batch_mates(self, encoder: Encoder) -> None:
        rows = self.rows(encoder, *self.TEXTS[:2], "a b c", "d e f g", "nine " * 9, "thirty " * 30)
        longest = max(map(len, rows))
        together = encoder.forward(rows, encoder.batching.padded(longest)).codes
        for row, code in zip(rows, together, strict=True):
            alone = encoder.forward([row], encoder.batching.padded(len(row))).codes[0]
            assert np.array_equal(alone, code)

    def test_passes_at_the_same_time_do_not_mix(self, encoder: Encoder) -> None:
        batches = [self.rows(encoder, f"text {n}", "and " * n) for n in range(2, 26)]
        lengths = [encoder.batching.padded(max(map(len, rows))) for rows in batches]
        one_by_one = [encoder.forward(*batch).codes for batch in zip(batches, lengths, strict=True)]
        assert encoder.batching.workers == 2
        with ThreadPoolExecutor(encoder.batching.workers) as workers:
            together = list(workers.map(lambda *b: encoder.forward(*b).codes, batches, lengths))
        assert np.array_equal(together, one_by_one)

    def test_embeddings_are_not_overwritten_by_the_next_pass(self, encoder: Encoder) -> None:
        rows = self.rows(encoder, *self.TEXTS[:2])
        first = encoder.forward(rows, 16, embeddings=True).embeddings
        assert first is not None
        copy = first.copy()
        encoder.forward(rows[::-1], 16, embeddings=True)
        assert np.array_equal(first, copy)

    def test_a_row_over_the_batchs_length_is_refused(self, encoder: Encoder) -> None:
        with pytest.raises(ValueError, match="row 0 has 17 tokens, the batch 16"):
            encoder.forward([np.zeros(17, dtype=np.int32)], 16)
        assert len(encoder.forward(self.rows(encoder, "hello"), 16).codes) == 1  # it still works

    def test_every_length_up_to_the_limit_can_be_padded(self, encoder: Encoder) -> None:
        lengths = [encoder.batching.padded(n) for n in range(1, encoder.info.max_tokens + 1)]
        assert all(padded >= n for n, padded in enumerate(lengths, start=1))

    def test_warming_up(self, encoder: Encoder) -> None:
        encoder.warm_up()
        assert (encoder.info.bits, encoder.info.device) == (1536, "cpu")
