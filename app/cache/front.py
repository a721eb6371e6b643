"""The in-process cache in front of Redis: least recently used out, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from app.cache.keys import StoredCode

# A dict slot, the digest, the StoredCode and its bytes object, as measured with tracemalloc.
ENTRY_OVERHEAD = 320


class FrontCache:
    """Digest to stored code. Codes never change under a digest; `clear` is for forgetting them.

    Args:
        max_bytes: what the entries may take, overhead included; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, StoredCode] = OrderedDict()
        self.bytes_used = 0
        # Changes when the cache is emptied: what was asked for before that is not to be put.
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, digests: Sequence[bytes]) -> list[StoredCode | None]:
        entries = self._entries
        found = list(map(entries.get, digests))
        for digest in digests if None not in found else filter(entries.__contains__, digests):
            entries.move_to_end(digest)
        return found

    def clear(self) -> None:
        self._entries.clear()
        self.bytes_used = 0
        self.epoch += 1

    def put_many(self, digests: Sequence[bytes], codes: Sequence[StoredCode | None]) -> None:
        """Keep those that are codes."""
        if not self._max_bytes:
            return
        for digest, stored in zip(digests, codes, strict=True):
            if stored is not None:
                self.put(digest, stored)

    def put(self, digest: bytes, stored: StoredCode) -> None:
        size = ENTRY_OVERHEAD + len(stored.code)
        if size > self._max_bytes or digest in self._entries:
            return
        self._entries[digest] = stored
        self.bytes_used += size
        while self.bytes_used > self._max_bytes:
            _, evicted = self._entries.popitem(last=False)
            self.bytes_used -= ENTRY_OVERHEAD + len(evicted.code)
