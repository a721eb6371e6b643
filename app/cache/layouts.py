"""The layouts by their names."""

from __future__ import annotations

from typing import Literal, TypeAlias

from app.cache.packed_store import PackedStore
from app.cache.server import Server
from app.cache.store import CodeStore
from app.cache.string_store import StringStore

Layout: TypeAlias = Literal["string", "packed"]
GRACE_S = 2.0


def open_store(server: Server, layout: Layout, *, ttl_s: int, timeout_s: float) -> CodeStore:
    """A store in a layout.

    Args:
        server: to keep codes on; closed with the store.
        layout: its name.
        ttl_s: how long codes live; 0 for ever.
        timeout_s: the server's. A write takes two of them at most.
    """
    if layout == "string":
        return StringStore(server, ttl_s=ttl_s)
    return PackedStore(server, ttl_s=ttl_s, grace_s=max(GRACE_S, 3 * timeout_s))
