"""Codes for the tests of the stores: what is stored for a digest follows from the digest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.cache.keys import StoredCode, decode_values, digest_texts, encode_value

FINGERPRINT = "0123456789abcdef" * 2
WIDTH = 48


def make_digests(count: int, about: str = "") -> list[bytes]:
    return digest_texts(FINGERPRINT, [f"{about}{number}" for number in range(count)])


def code_of(digest: bytes) -> StoredCode:
    return StoredCode(digest * 3, digest[0], digest[1] > 127)


def values_of(digests: Sequence[bytes]) -> dict[bytes, bytes]:
    return {digest: encode_value(FINGERPRINT, digest, code_of(digest)) for digest in digests}


async def fill(store: Any, digests: Sequence[bytes], size: int = 256) -> None:
    for start in range(0, len(digests), size):
        assert await store.put(FINGERPRINT, values_of(digests[start : start + size])) == []


async def count_missing(store: Any, digests: Sequence[bytes], size: int = 256) -> int:
    """How many are not found; those that are found must be right."""
    missing = 0
    for start in range(0, len(digests), size):
        asked = digests[start : start + size]
        replies = await store.get(FINGERPRINT, asked)
        assert not any(isinstance(reply, Exception) for reply in replies)
        pairs = [(d, value) for d, value in zip(asked, replies, strict=True) if value is not None]
        assert decode_values(FINGERPRINT, WIDTH, pairs) == [code_of(d) for d, _ in pairs]
        missing += len(asked) - len(pairs)
    return missing


async def scanned(store: Any, fingerprint: str = FINGERPRINT) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    async for page in store.scan(fingerprint):
        found |= page.values
    return found
