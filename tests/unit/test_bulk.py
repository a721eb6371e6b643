"""models.bulk against one forward pass a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.bulk import embed_texts, encode_texts
from models.codes import pack_bits
from models.encoder import Encoder, pool_windows
from models.loading import load_encoder
from tests.unit.tiny import words, write_bert

LIMIT = 24


@pytest.fixture(scope="module", params=["torch", "openvino"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Encoder:
    return load_encoder(
        str(write_bert(tmp_path_factory.mktemp("bulk"))),
        backend=request.param,
        device="cpu",
        dtype="fp32",
        threads=2,
        max_tokens=LIMIT,
        long_texts="windows",
    )


def one_by_one(encoder: Encoder, texts: list[str]) -> np.ndarray:
    rows = []
    for tokens in encoder.tokenize(texts):
        parts = []
        for window in tokens.windows:
            length = encoder.batching.padded(len(window))
            batch = encoder.forward([window], length, embeddings=True)
            assert batch.embeddings is not None
            parts.append(batch.embeddings[0])
        lengths = [len(window) for window in tokens.windows]
        rows.append(parts[0] if len(parts) == 1 else pool_windows(parts, lengths))
    return np.stack(rows)


def texts_of(count: int, longest: int) -> list[str]:
    random = np.random.default_rng(0)
    return [words(int(n), start=int(n) * 5) for n in random.integers(0, longest, count)]


def check(encoder: Encoder, texts: list[str]) -> None:
    expected = one_by_one(encoder, texts)
    floats = embed_texts(encoder, texts)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, expected, atol=2e-6)
    codes = encode_texts(encoder, texts)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(texts), encoder.info.bits // 8)
    sure = np.abs(expected) > 1e-5  # nearer to a threshold, a bit may fall either way
    assert sure.mean() > 0.99
    assert np.array_equal(np.unpackbits(codes, axis=1)[sure], (expected > 0)[sure])
    assert np.array_equal(codes, pack_bits(floats))


def test_texts_in_one_window(encoder: Encoder) -> None:
    check(encoder, texts_of(80, LIMIT - 2))


def test_texts_of_one_and_of_several_windows(encoder: Encoder) -> None:
    texts = texts_of(60, 5 * LIMIT)
    several = [len(one.windows) > 1 for one in encoder.tokenize(texts)]
    assert 10 < sum(several) < 50
    check(encoder, texts)


def test_windows_alone(encoder: Encoder) -> None:
    check(encoder, [words(90), words(70, start=3)])


def test_the_order_is_that_of_the_texts(encoder: Encoder) -> None:
    texts = texts_of(40, 3 * LIMIT)
    codes = encode_texts(encoder, texts)
    back = encode_texts(encoder, texts[::-1])
    assert np.array_equal(codes, back[::-1])
    assert len(np.unique(codes, axis=0)) > 10


def test_more_texts_than_are_tokenized_at_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = texts_of(40, 3 * LIMIT)
    floats, codes = embed_texts(encoder, texts), encode_texts(encoder, texts)
    monkeypatch.setattr("models.bulk.TOKENIZE_AT_ONCE", 7)
    np.testing.assert_allclose(embed_texts(encoder, texts), floats, atol=2e-6)
    assert np.array_equal(encode_texts(encoder, texts), codes)


def test_a_text_that_comes_twice(encoder: Encoder) -> None:
    codes = encode_texts(encoder, [words(50), words(3), words(50), words(3)])
    assert np.array_equal(codes[:2], codes[2:])


def test_no_texts(encoder: Encoder) -> None:
    assert encode_texts(encoder, []).shape == (0, encoder.info.bits // 8)
    assert embed_texts(encoder, []).shape == (0, encoder.info.bits)


def test_a_failing_pass_is_not_swallowed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_texts(encoder, [words(3)])
