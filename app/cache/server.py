"""What the code cache asks of Redis or Valkey: many small commands in one round trip.

redis-py's own pipelines cost 10 µs of Python a command, more than the server takes to answer it.
Here commands come packed, go out as one write, and replies are read off redis-py's connection:
its pool, its handshake (TLS, ACL users), Sentinel and parser stay (docs/decisions/015).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from app.cache.commands import Command, pack

# bytes, int, None, a list of these, or the error that the server answered with.
Reply: TypeAlias = Any
PATIENCE = 4096  # commands that the time-out allows for
# What trouble with a server raises, of the client and of the system.
ServerError = (RedisError, OSError, TimeoutError)


class Server(Protocol):
    """One server, or a cluster of them. Commands must be such that sending one twice is no harm.

    `is_one` says that all keys are in one place, so that a command may name many of them. All
    raise one of `ServerError` when there is no server to ask.
    """

    @property
    def is_one(self) -> bool: ...

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        """Replies in order; an error that the server answered with is in its command's place."""
        ...

    async def shards(self) -> list[str]:
        """Names of the servers that hold a part of the keys each."""
        ...

    async def send_to(self, shard: str, commands: Sequence[bytes]) -> list[Reply]:
        """Replies of one shard, for commands without a key (SCAN, CONFIG)."""
        ...

    async def ping(self) -> None:
        """Ask for an answer."""
        ...

    async def close(self) -> None: ...


async def exchange(
    connection: AbstractConnection, commands: Sequence[bytes], timeout_s: float
) -> list[Reply]:
    """Write all commands, read all replies. A connection that failed in between is closed.

    Args:
        connection: of redis-py.
        commands: packed.
        timeout_s: for all of it; more where there are very many commands.
    """
    replies: list[Reply] = []
    try:
        async with asyncio.timeout(timeout_s * (1 + len(commands) // PATIENCE)):
            await connection.send_packed_command([b"".join(commands)], check_health=False)
            for _ in commands:
                try:
                    # Bytes, undecoded; no time-out of its own for each, which costs more than
                    # the reply.
                    replies.append(await connection.read_response(True, math.inf))
                except ResponseError as error:
                    replies.append(error)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return replies


class SingleServer:
    """One server, or the master that Sentinel names.

    Args:
        client: its pool is used.
        timeout_s: for a connection, and for a round trip.
    """

    is_one = True

    def __init__(self, client: Redis, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        return await self.send_to("", [packed for _, packed in commands])

    async def shards(self) -> list[str]:
        return [""]

    async def send_to(self, shard: str, commands: Sequence[bytes]) -> list[Reply]:
        try:
            replies = await self._once(commands)
        except TimeoutError:  # an OSError too, but trying again would double the wait
            raise
        except (RedisConnectionError, OSError):  # a restart leaves dead connections in the pool
            return await self._once(commands)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # A master no more: the connection was closed, Sentinel names the new one.
            return await self._once(commands)
        return replies

    async def ping(self) -> None:
        raise_first(await self.send_to("", [pack(b"PING")]))

    async def close(self) -> None:
        await self._client.aclose()

    async def _once(self, commands: Sequence[bytes]) -> list[Reply]:
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            replies = await exchange(connection, commands, self._timeout_s)
            if any(isinstance(reply, ReadOnlyError) for reply in replies):
                await connection.disconnect()
            return replies
        finally:
            await pool.release(connection)


def raise_first(replies: Sequence[Reply]) -> None:
    """Raise the first error that the server answered with, if there is one."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def is_foreign(reply: Reply) -> bool:
    """Whether something of another type is under a key of ours."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def without_foreign(replies: Sequence[Reply]) -> list[Reply]:
    """Replies with None in the place of what is not ours; raises the first of the other errors."""
    replies = [None if is_foreign(reply) else reply for reply in replies]
    raise_first(replies)
    return replies
