"""What both layouts do: keep values by digest on a server, and read them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from app.cache.server import Reply


class Page(NamedTuple):
    """Some of the values that a store holds, by digest, and where to go on after them."""

    values: dict[bytes, bytes]
    position: str


class CodeStore(Protocol):
    """Values by digest, in one layout on one server.

    All raise one of `ServerError` when the server does not answer. Errors that it answers with are
    given back where they concern some of the values.
    """

    async def get(self, fingerprint: str, digests: Sequence[bytes]) -> list[Reply]:
        """For each digest its value, None, or the error in its place. One round trip."""
        ...

    async def put(self, fingerprint: str, values: Mapping[bytes, bytes]) -> list[Exception]:
        """Store values, in one round trip; the errors of those that could not be."""
        ...

    async def delete(self, fingerprint: str, digests: Sequence[bytes]) -> int:
        """Forget digests; how many values there were."""
        ...

    async def delete_all(self, fingerprint: str) -> int:
        """Forget all of a fingerprint; how many keys of the server there were."""
        ...

    def scan(self, fingerprint: str, position: str = "") -> AsyncIterator[Page]:
        """All values, at least once each, that were there all the while.

        Args:
            fingerprint: of the encoder.
            position: of an earlier page, to go on after it.
        """
        ...

    async def settled(self) -> None:
        """Wait for what runs in the background."""
        ...

    async def ping(self) -> None:
        """Ask the server for an answer."""
        ...

    async def close(self) -> None:
        """Give up what runs in the background, and the connections."""
        ...
