"""The layout `string`: a key a code. Expiry and eviction are exact, a code at a time.

The key is `ph1:` + 4 bytes of the fingerprint + the digest: 24 bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from redis.exceptions import InvalidResponse

from app.cache.commands import Command, keyed
from app.cache.keys import DIGEST_BYTES, fingerprint_tag
from app.cache.scan import scan_keys, unlink
from app.cache.server import Reply, Server, raise_first, without_foreign
from app.cache.store import Page

KEY_PREFIX = b"ph1:"
_GET = b"*2\r\n$3\r\nGET\r\n$24\r\n%b\r\n"


class StringStore:
    """See `CodeStore`.

    Args:
        server: to keep values on.
        ttl_s: expiry of what is stored; 0 for none.
    """

    def __init__(self, server: Server, *, ttl_s: int = 0) -> None:
        self._server = server
        self._ttl_s = ttl_s

    async def get(self, fingerprint: str, digests: Sequence[bytes]) -> list[Reply]:
        head = _head(fingerprint)
        if self._server.is_one:
            [values] = await self._server.send([_mget(head, digests)]) if digests else [[]]
            if isinstance(values, list) and len(values) == len(digests):
                return values  # None for keys of another type, too
            if not isinstance(values, Exception):
                raise InvalidResponse("the answer to MGET is none")
            return [values] * len(digests)
        keys = [head + digest for digest in digests]
        return await self._server.send([(key, _GET % key) for key in keys])

    async def put(self, fingerprint: str, values: Mapping[bytes, bytes]) -> list[Exception]:
        head = _head(fingerprint)
        expiry = (b"EX", b"%d" % self._ttl_s) if self._ttl_s else ()
        replies = await self._server.send(
            [keyed(b"SET", head + digest, value, *expiry) for digest, value in values.items()]
        )
        return [reply for reply in replies if isinstance(reply, Exception)]

    async def delete(self, fingerprint: str, digests: Sequence[bytes]) -> int:
        head = _head(fingerprint)
        replies = await self._server.send([keyed(b"UNLINK", head + digest) for digest in digests])
        raise_first(replies)
        return sum(replies)

    async def delete_all(self, fingerprint: str) -> int:
        return await unlink(self._server, _head(fingerprint))

    async def scan(self, fingerprint: str, position: str = "") -> AsyncIterator[Page]:
        head = _head(fingerprint)
        async for keys, after in scan_keys(self._server, head, position):
            own = [key for key in keys if len(key) == len(head) + DIGEST_BYTES]
            commands: list[Command] = [(key, _GET % key) for key in own]
            replies = without_foreign(await self._server.send(commands) if own else [])
            values = {
                key[len(head) :]: value
                for key, value in zip(own, replies, strict=True)
                if value is not None  # gone meanwhile, or of another type
            }
            yield Page(values, after)

    async def settled(self) -> None:
        """Nothing runs in the background."""

    async def ping(self) -> None:
        await self._server.ping()

    async def close(self) -> None:
        await self._server.close()


def server_key(fingerprint: str, digest: bytes) -> bytes:
    """Where the value of a digest is."""
    return _head(fingerprint) + digest


def _mget(head: bytes, digests: Sequence[bytes]) -> Command:
    """One command for all, by one join: a reply of many values is far cheaper than many replies."""
    between = b"\r\n$24\r\n" + head
    names = between.join([b"", *digests])
    return head, b"*%d\r\n$4\r\nMGET%b\r\n" % (1 + len(digests), names)


def _head(fingerprint: str) -> bytes:
    return KEY_PREFIX + fingerprint_tag(fingerprint)
