"""Digests of texts, and the values that hold their codes: pure functions over bytes.

A *digest* (16 bytes, its hex is the public `key`) names one text under one fingerprint. A value is

    | tokens and flag 2 | code | checksum 4 |

little-endian; the flag is the top bit of the first two bytes, set where the text was truncated.
The checksum covers the fingerprint, the digest, and all that comes before it: a value under another
digest, of another encoder, of a wrong width or with a flipped bit does not decode. Under which name
a value is kept is the layout's matter (`string_store`, `packed_layout`); the value is the same in
both, so that moving one copies its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

DIGEST_BYTES = 16
TAG_BYTES = 4
MAX_TOKENS = 0x7FFF
VALUE_OVERHEAD = 6
_TRUNCATED = 0x8000
_CHECKSUM = 4
# What a CRC-32 gives over any bytes followed by their own CRC-32: no checksum need be cut out of a
# value to be compared.
_RESIDUE = 0x2144DF1C


# A named tuple without the Python function that takes its fields: half of the time, a code.
_new_tuple = tuple.__new__


class StoredCode(NamedTuple):
    """A code with what was learned while it was made."""

    code: bytes
    tokens: int
    truncated: bool


def digest_texts(fingerprint: str, texts: Sequence[str]) -> list[bytes]:
    """Digests of texts: 16 bytes each, keyed by the fingerprint.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    copy = _keyed(fingerprint).copy
    digests = []
    for text in texts:
        state = copy()
        state.update(text.encode())
        digests.append(state.digest())
    return digests


def fingerprint_tag(fingerprint: str) -> bytes:
    """The part of a fingerprint that the server's keys hold, to tell encoders' codes apart."""
    return bytes.fromhex(fingerprint[: 2 * TAG_BYTES])


def encode_value(fingerprint: str, digest: bytes, stored: StoredCode) -> bytes:
    """The value to store for a digest."""
    head = min(stored.tokens, MAX_TOKENS) | (_TRUNCATED if stored.truncated else 0)
    body = head.to_bytes(2, "little") + stored.code
    return body + crc32(body, crc32(digest, _seed(fingerprint))).to_bytes(_CHECKSUM, "little")


def decode_values(
    fingerprint: str, code_bytes: int, pairs: Iterable[tuple[bytes, object]]
) -> list[StoredCode | None]:
    """Codes of pairs of digest and value, None for what `encode_value` did not write there.

    A value may be anything that a server answers.
    """
    seed, size = _seed(fingerprint), VALUE_OVERHEAD + code_bytes
    return [
        _new_tuple(
            StoredCode,
            (
                value[2:-_CHECKSUM],
                (value[0] | value[1] << 8) & MAX_TOKENS,
                value[1] >= _TRUNCATED >> 8,
            ),
        )
        if isinstance(value, bytes)
        and len(value) == size
        and crc32(value, crc32(digest, seed)) == _RESIDUE
        else None
        for digest, value in pairs
    ]


@lru_cache(maxsize=8)
def _keyed(fingerprint: str) -> blake2b:
    """The state of a hash that has read its key."""
    return blake2b(digest_size=DIGEST_BYTES, key=fingerprint.encode())


def _seed(fingerprint: str) -> int:
    return crc32(fingerprint.encode())
