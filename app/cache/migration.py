"""Moving codes from one layout to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.cache.server import raise_first
from app.cache.store import CodeStore


async def migrate(source: CodeStore, target: CodeStore, fingerprint: str) -> AsyncIterator[int]:
    """Move all codes of an encoder. Yields how many were moved, after each page.

    A page is deleted from the source once it is in the target: cut off anywhere, nothing is lost,
    and it can be run again. Run it when all processes have the target's layout: what others write
    to the source behind it stays there. Codes start a new life in the target where they expire.

    Raises:
        ServerError: the server is not there, or takes no codes.
    """
    moved = 0
    async for page in source.scan(fingerprint):
        if not page.values:
            continue
        raise_first(await target.put(fingerprint, page.values))
        moved += await source.delete(fingerprint, list(page.values))
        yield moved
