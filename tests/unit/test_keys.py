"""app.cache.keys: what was not written exactly so must not decode."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.cache.keys import (
    DIGEST_BYTES,
    MAX_TOKENS,
    VALUE_OVERHEAD,
    StoredCode,
    decode_values,
    digest_texts,
    encode_value,
    fingerprint_tag,
)

fingerprints = st.text("0123456789abcdef", min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]))
digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
stored_codes = st.builds(
    StoredCode,
    code=st.binary(min_size=1, max_size=32),
    tokens=st.integers(0, MAX_TOKENS),
    truncated=st.booleans(),
)


def decode(fingerprint: str, digest: bytes, value: bytes, width: int) -> StoredCode | None:
    return decode_values(fingerprint, width, [(digest, value)])[0]


@given(fingerprints, digests, stored_codes)
def test_value_round_trip(fingerprint: str, digest: bytes, stored: StoredCode) -> None:
    value = encode_value(fingerprint, digest, stored)
    assert len(value) == len(stored.code) + VALUE_OVERHEAD
    assert decode(fingerprint, digest, value, len(stored.code)) == stored


@given(fingerprints, st.lists(st.tuples(digests, stored_codes)))
def test_many_decode_as_each_alone(
    fingerprint: str, several: list[tuple[bytes, StoredCode]]
) -> None:
    pairs = [(digest, encode_value(fingerprint, digest, stored)) for digest, stored in several]
    for width in {len(stored.code) for _, stored in several}:
        expected = [stored if len(stored.code) == width else None for _, stored in several]
        assert decode_values(fingerprint, width, pairs) == expected


@given(fingerprints, digests, stored_codes)
def test_the_checksum_is_crc32_of_all_else(
    fingerprint: str, digest: bytes, stored: StoredCode
) -> None:
    # By zlib, of the bytes in one piece, where the code chains and compares a residue.
    value = encode_value(fingerprint, digest, stored)
    checksum = zlib.crc32(fingerprint.encode() + digest + value[:-4])
    assert value[-4:] == checksum.to_bytes(4, "little")


def test_token_counts_over_the_field_are_capped() -> None:
    value = encode_value("0" * 32, bytes(16), StoredCode(b"c", MAX_TOKENS + 1, True))
    assert decode("0" * 32, bytes(16), value, 1) == StoredCode(b"c", MAX_TOKENS, True)


@given(fingerprints, digests, stored_codes)
def test_every_flipped_bit_is_a_miss(fingerprint: str, digest: bytes, stored: StoredCode) -> None:
    value = encode_value(fingerprint, digest, stored)
    for place in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[place // 8] ^= 1 << place % 8
        assert decode(fingerprint, digest, bytes(flipped), len(stored.code)) is None


@given(fingerprints, digests, stored_codes, st.binary(min_size=1, max_size=8))
def test_truncated_or_extended_values_are_misses(
    fingerprint: str, digest: bytes, stored: StoredCode, more: bytes
) -> None:
    value, width = encode_value(fingerprint, digest, stored), len(stored.code)
    cut = [value[:end] for end in range(len(value))]
    for bad in (*cut, value + more, more + value):
        assert decode(fingerprint, digest, bad, width) is None


@given(fingerprints, digests, digests, stored_codes)
def test_a_value_under_another_digest_is_a_miss(
    fingerprint: str, digest: bytes, other: bytes, stored: StoredCode
) -> None:
    assume(digest != other)
    value = encode_value(fingerprint, digest, stored)
    assert decode(fingerprint, other, value, len(stored.code)) is None


@given(fingerprints, digests, stored_codes, st.integers(0, 64))
def test_a_value_of_another_width_is_a_miss(
    fingerprint: str, digest: bytes, stored: StoredCode, width: int
) -> None:
    assume(width != len(stored.code))
    assert decode(fingerprint, digest, encode_value(fingerprint, digest, stored), width) is None


@given(texts, fingerprints, fingerprints, stored_codes)
def test_a_value_of_another_fingerprint_is_a_miss(
    text: str, one: str, other: str, stored: StoredCode
) -> None:
    other = one[:8] + other[8:]  # the worst case: the part that the server's keys hold is the same
    assume(one != other)
    [digest], [other_digest] = digest_texts(one, [text]), digest_texts(other, [text])
    assert digest != other_digest
    value = encode_value(one, digest, stored)
    assert decode(other, other_digest, value, len(stored.code)) is None
    assert decode(other, digest, value, len(stored.code)) is None


@given(fingerprints, digests, st.binary(max_size=64), st.integers(0, 64))
def test_arbitrary_bytes_decode_to_nothing(
    fingerprint: str, digest: bytes, value: bytes, width: int
) -> None:
    # A forged checksum needs luck of one in 2^32.
    assert decode(fingerprint, digest, value, width) is None


def test_server_keys_hold_the_start_of_the_fingerprint() -> None:
    assert fingerprint_tag("00ff10ab" + "0" * 24) == b"\x00\xff\x10\xab"


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
