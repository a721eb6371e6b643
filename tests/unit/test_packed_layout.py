"""app.cache.packed_layout: digests to buckets and fields, and back."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.cache.generations import MAX_BITS, Generation
from app.cache.keys import DIGEST_BYTES, digest_texts
from app.cache.packed_layout import (
    BUCKET_PREFIX,
    bucket_keys,
    deletes,
    place_digests,
    read_digest,
    reads,
    writes,
)

TAG = b"\x01\x02\x03\x04"
digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
generations = st.builds(Generation, st.integers(1, 1 << 20), st.integers(0, MAX_BITS))


def parse(packed: bytes) -> list[bytes]:
    """The parts of a command in the wire's form, by its lengths."""
    count, rest = packed.split(b"\r\n", 1)
    parts = []
    for _ in range(int(count[1:])):
        size, rest = rest.split(b"\r\n", 1)
        length = int(size[1:])
        assert rest[length : length + 2] == b"\r\n"
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    assert not rest
    return parts


@given(generations, digests)
def test_key_and_field_give_the_digest_back(generation: Generation, digest: bytes) -> None:
    [(key, field)] = place_digests(TAG, generation, [digest])
    assert read_digest(key, field) == digest


@given(generations, st.sets(digests, min_size=2))
def test_no_two_digests_share_a_place(generation: Generation, several: set[bytes]) -> None:
    assert len(set(place_digests(TAG, generation, list(several)))) == len(several)


@given(generations, generations, digests, st.binary(min_size=4, max_size=4))
def test_generations_and_encoders_share_no_bucket(
    one: Generation, other: Generation, digest: bytes, tag: bytes
) -> None:
    [(key, _)] = place_digests(TAG, one, [digest])
    [(other_key, _)] = place_digests(tag, other, [digest])
    same = (tag, other.number & 0xFFFF, other.bits) == (TAG, one.number & 0xFFFF, one.bits)
    assert (key == other_key) == same


@given(st.integers(0, MAX_BITS), st.lists(digests))
def test_buckets_are_numbered_by_the_leading_bits(bits: int, several: list[bytes]) -> None:
    generation = Generation(1, bits)
    for digest, (key, _) in zip(several, place_digests(TAG, generation, several), strict=True):
        # The number by integer arithmetic, where the code cuts bytes.
        number = int.from_bytes(digest, "big") >> (DIGEST_BYTES * 8 - bits)
        assert bucket_keys(TAG, generation, number, number + 1) == [key]


def test_all_buckets_are_named_once() -> None:
    for bits in (0, 1, 3, 8, 9, 12):
        generation = Generation(1, bits)
        keys = bucket_keys(TAG, generation, 0, generation.buckets)
        assert len(set(keys)) == len(keys) == 1 << bits
        assert all(key.startswith(BUCKET_PREFIX + TAG) for key in keys)


def test_buckets_fill_evenly() -> None:
    generation = Generation(1, 7)
    places = place_digests(TAG, generation, digest_texts("f", [str(n) for n in range(12_800)]))
    counts = Counter(key for key, _ in places)
    assert len(counts) == 128
    assert 60 < min(counts.values()) <= max(counts.values()) < 140  # a mean of 100, deviation 10


@given(generations, st.lists(digests, unique=True), st.integers(0, 2**31))
def test_commands_name_the_places(
    generation: Generation, several: list[bytes], expires_at: int
) -> None:
    generation = generation._replace(expires_at=expires_at)
    places = place_digests(TAG, generation, several)
    values = [b"value of " + digest for digest in several]
    asked = [(key, parse(packed)) for key, packed in reads(TAG, generation, several)]
    assert asked == [(key, [b"HGET", key, field]) for key, field in places]
    taken = [(key, parse(packed)) for key, packed in deletes(TAG, generation, several)]
    assert taken == [(key, [b"HDEL", key, field]) for key, field in places]
    written, expiring = {}, {}
    for key, packed in writes(TAG, generation, several, values):
        name, named, *rest = parse(packed)
        assert named == key
        if name == b"EXPIREAT":
            expiring[key] = rest
            continue
        assert name == b"HSET"
        written |= {(key, field): value for field, value in zip(rest[::2], rest[1::2], strict=True)}
    assert written == dict(zip(places, values, strict=True))
    keys = {key for key, _ in places} if expires_at else set()
    assert expiring == {key: [b"%d" % expires_at] for key in keys}


@given(st.binary(max_size=24), st.binary(max_size=40))
def test_foreign_keys_and_fields_give_a_digest_or_none(key: bytes, field: bytes) -> None:
    digest = read_digest(key, field)
    assert digest is None or len(digest) == DIGEST_BYTES
