"""Keys and values of the code cache: pure functions over bytes.

A *digest* (16 bytes, its hex is the public `key`) names one text under one fingerprint. The
server key is `ph1:` + 4 bytes of the fingerprint + the digest, so that codes of one encoder can
be told from another's. A value is

    | version 1 | flags 1 | tokens 2 (little-endian) | checksum 4 | code |

The checksum covers the whole server key too: a value under a wrong key, of another encoder, of a
wrong width or with a flipped bit does not decode.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from zlib import crc32

KEY_PREFIX = b"ph1:"
DIGEST_BYTES = 16
VALUE_VERSION = 1
TRUNCATED = 1
MAX_TOKENS = 0xFFFF
_HEADER = struct.Struct("<BBHI")


@dataclass(frozen=True, slots=True)
class StoredCode:
    """A code with what was learned while it was made."""

    code: bytes
    tokens: int
    truncated: bool


def digest_texts(fingerprint: str, texts: Sequence[str]) -> list[bytes]:
    """Digests of texts: 16 bytes each, keyed by the fingerprint.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    key = fingerprint.encode()
    return [blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).digest() for text in texts]


def server_key(fingerprint: str, digest: bytes) -> bytes:
    """The key in Redis: 24 bytes."""
    return KEY_PREFIX + bytes.fromhex(fingerprint[:8]) + digest


def encode_value(key: bytes, stored: StoredCode) -> bytes:
    """The value to store under the server key `key`."""
    flags = TRUNCATED if stored.truncated else 0
    tokens = min(stored.tokens, MAX_TOKENS)
    checksum = _checksum(key, flags, tokens, stored.code)
    return _HEADER.pack(VALUE_VERSION, flags, tokens, checksum) + stored.code


def decode_value(key: bytes, value: bytes, code_bytes: int) -> StoredCode | None:
    """What is stored, or None for anything that is not exactly what `encode_value` wrote there."""
    if len(value) != _HEADER.size + code_bytes:
        return None
    version, flags, tokens, checksum = _HEADER.unpack_from(value)
    code = value[_HEADER.size :]
    if version != VALUE_VERSION or flags > TRUNCATED:
        return None
    if checksum != _checksum(key, flags, tokens, code):
        return None
    return StoredCode(code=code, tokens=tokens, truncated=flags == TRUNCATED)


def _checksum(key: bytes, flags: int, tokens: int, code: bytes) -> int:
    return crc32(code, crc32(b"%d,%d" % (flags, tokens), crc32(key)))
