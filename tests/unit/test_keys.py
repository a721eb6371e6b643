"""app.cache.keys: what was not written exactly so must not decode."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.cache.keys import (
    DIGEST_BYTES,
    KEY_PREFIX,
    MAX_TOKENS,
    StoredCode,
    decode_value,
    digest_texts,
    encode_value,
    server_key,
)

fingerprints = st.text("0123456789abcdef", min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.builds(server_key, fingerprints, st.binary(min_size=16, max_size=16))
stored_codes = st.builds(
    StoredCode,
    code=st.binary(min_size=1, max_size=32),
    tokens=st.integers(0, MAX_TOKENS),
    truncated=st.booleans(),
)


@given(keys, stored_codes)
def test_value_round_trip(key: bytes, stored: StoredCode) -> None:
    assert decode_value(key, encode_value(key, stored), len(stored.code)) == stored


def test_token_counts_over_the_field_are_capped() -> None:
    key = server_key("0" * 32, bytes(16))
    value = encode_value(key, StoredCode(b"c", MAX_TOKENS + 1, True))
    assert decode_value(key, value, 1) == StoredCode(b"c", MAX_TOKENS, True)


@given(keys, stored_codes)
def test_every_flipped_bit_is_a_miss(key: bytes, stored: StoredCode) -> None:
    value = encode_value(key, stored)
    for place in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[place // 8] ^= 1 << place % 8
        assert decode_value(key, bytes(flipped), len(stored.code)) is None


@given(keys, stored_codes, st.binary(min_size=1, max_size=8))
def test_truncated_or_extended_values_are_misses(
    key: bytes, stored: StoredCode, more: bytes
) -> None:
    value, width = encode_value(key, stored), len(stored.code)
    assert all(decode_value(key, value[:end], width) is None for end in range(len(value)))
    assert decode_value(key, value + more, width) is None
    assert decode_value(key, more + value, width) is None


@given(keys, keys, stored_codes)
def test_a_value_under_another_key_is_a_miss(key: bytes, other: bytes, stored: StoredCode) -> None:
    assume(key != other)
    assert decode_value(other, encode_value(key, stored), len(stored.code)) is None


@given(keys, stored_codes, st.integers(0, 64))
def test_a_value_of_another_width_is_a_miss(key: bytes, stored: StoredCode, width: int) -> None:
    assume(width != len(stored.code))
    assert decode_value(key, encode_value(key, stored), width) is None


@given(texts, fingerprints, fingerprints, stored_codes)
def test_a_value_of_another_fingerprint_is_a_miss(
    text: str, one: str, other: str, stored: StoredCode
) -> None:
    other = one[:8] + other[8:]  # the worst case: the part that the server key holds is the same
    assume(one != other)
    [digest], [other_digest] = digest_texts(one, [text]), digest_texts(other, [text])
    assert digest != other_digest
    value = encode_value(server_key(one, digest), stored)
    assert decode_value(server_key(other, other_digest), value, len(stored.code)) is None


@given(keys, st.binary(max_size=64), st.integers(0, 64))
def test_arbitrary_bytes_decode_to_nothing(key: bytes, value: bytes, width: int) -> None:
    # A forged checksum needs luck of one in 2^32.
    assert decode_value(key, value, width) is None


def test_server_keys_hold_prefix_fingerprint_and_digest() -> None:
    key = server_key("00ff10ab" + "0" * 24, b"d" * DIGEST_BYTES)
    assert key == KEY_PREFIX + b"\x00\xff\x10\xab" + b"d" * DIGEST_BYTES
    assert len(key) == 24


@given(st.lists(texts, unique=True), fingerprints)
def test_digests_tell_texts_apart(several: list[str], fingerprint: str) -> None:
    digests = digest_texts(fingerprint, several)
    assert len(set(digests)) == len(several)
    assert all(len(digest) == DIGEST_BYTES for digest in digests)
    assert digests == [digest_texts(fingerprint, [text])[0] for text in several]


@given(st.text("0123456789abcdef", min_size=2, max_size=40))
def test_fingerprint_and_text_do_not_run_together(joined: str) -> None:
    pairs = [(joined[:cut], joined[cut:]) for cut in range(len(joined) + 1)]
    digests = {digest_texts(fingerprint, [text])[0] for fingerprint, text in pairs}
    assert len(digests) == len(pairs)


def test_trailing_zeros_of_a_fingerprint_count() -> None:
    assert digest_texts("ab", ["x"]) != digest_texts("ab\0", ["x"])


def test_texts_are_not_normalized() -> None:
    assert len(set(digest_texts("f", ["é", "e\u0301", "É", "é ", " é"]))) == 5


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        digest_texts("f", ["fine", "\ud800"])
