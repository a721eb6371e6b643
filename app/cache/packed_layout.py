"""The layout `packed`: codes in hashes (buckets) small enough to stay one listpack. Pure.

A bucket holds the digests that share their leading `bits` bits; its key names those bits, and a
field is what is left of the digest, from the first byte that the key does not name whole:

    key    `php:` | tag 4 | number 2 | bits 1 | leading bits, padded to bytes
    field  digest[bits // 8:]

Key and field together hold the whole digest: two digests never share a field, and a digest can be
read back, which moving and exporting codes needs. `number` is the generation's, see `generations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from app.cache.commands import Command, keyed, pack
from app.cache.generations import Generation
from app.cache.keys import DIGEST_BYTES

BUCKET_PREFIX = b"php:"
_KEY_HEAD = 11  # all of a bucket's key but the leading bits


def bucket_head(tag: bytes, generation: Generation) -> bytes:
    """What all keys of a generation's buckets start with."""
    number = generation.number & 0xFFFF
    return BUCKET_PREFIX + tag + number.to_bytes(2, "big") + bytes([generation.bits])


def bucket_keys(tag: bytes, generation: Generation, start: int, stop: int) -> list[bytes]:
    """Keys of the buckets numbered `start` to `stop` by their leading bits."""
    head, size = bucket_head(tag, generation), -(-generation.bits // 8)
    shift = size * 8 - generation.bits
    return [head + (place << shift).to_bytes(size, "big") for place in range(start, stop)]


def place_digests(
    tag: bytes, generation: Generation, digests: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
    """Bucket key and field of each digest."""
    head, (whole, part) = bucket_head(tag, generation), divmod(generation.bits, 8)
    if not part:
        return [(head + digest[:whole], digest[whole:]) for digest in digests]
    cut = _leading(part)
    return [(head + digest[:whole] + cut[digest[whole]], digest[whole:]) for digest in digests]


@cache
def _leading(bits: int) -> list[bytes]:
    """For each byte its leading bits: what key and field share."""
    mask = 0xFF << (8 - bits) & 0xFF
    return [bytes([byte & mask]) for byte in range(256)]


def read_digest(key: bytes, field: bytes) -> bytes | None:
    """The digest that `place_digests` put there; None if it cannot have."""
    whole = DIGEST_BYTES - len(field)
    if not 0 <= whole <= len(key) - _KEY_HEAD:
        return None
    return key[_KEY_HEAD : _KEY_HEAD + whole] + field


def reads(tag: bytes, generation: Generation, digests: Sequence[bytes]) -> list[Command]:
    """Commands that ask for the values of digests in one generation."""
    key_size = _KEY_HEAD + -(-generation.bits // 8)
    field_size = DIGEST_BYTES - generation.bits // 8
    # All are of one shape, so that a command is one formatting.
    shape = b"*3\r\n$4\r\nHGET\r\n$%d\r\n%%b\r\n$%d\r\n%%b\r\n" % (key_size, field_size)
    return [(place[0], shape % place) for place in place_digests(tag, generation, digests)]


def writes(
    tag: bytes, generation: Generation, digests: Sequence[bytes], values: Sequence[bytes]
) -> list[Command]:
    """Commands that store values in a generation, a bucket once."""
    fields: dict[bytes, list[bytes]] = {}
    places = place_digests(tag, generation, digests)
    for (key, field), value in zip(places, values, strict=True):
        fields.setdefault(key, []).extend((field, value))
    commands = [keyed(b"HSET", key, *pairs) for key, pairs in fields.items()]
    if generation.expires_at:
        expiry = b"%d" % generation.expires_at
        commands += [(key, pack(b"EXPIREAT", key, expiry)) for key in fields]
    return commands


def deletes(tag: bytes, generation: Generation, digests: Sequence[bytes]) -> list[Command]:
    """Commands that take digests out of a generation."""
    return [keyed(b"HDEL", key, field) for key, field in place_digests(tag, generation, digests)]
