"""A Redis or Valkey Cluster: commands go to the node of their slot, a round trip a node at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, MovedError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.cache.breaker import Breaker
from app.cache.commands import Command, pack
from app.cache.server import Reply, ServerError, exchange

REFRESH_PAUSE_S = 0.25
_ASKING = pack(b"ASKING")


class ClusterServer:
    """Knows the slots by redis-py's client, follows redirections, leaves dead nodes alone.

    A node that does not answer costs its own keys alone (errors in their places), and no request
    waits for the cluster to find a successor: the slots are read again in the background.

    Args:
        client: finds the nodes and holds their connections.
        timeout_s: for a round trip to a node.
    """

    is_one = False

    def __init__(self, client: RedisCluster, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        self._refreshing: asyncio.Task[None] | None = None

    async def send(self, commands: Sequence[Command]) -> list[Reply]:
        await self._client.initialize()
        replies: list[Reply] = [None] * len(commands)
        by_node: defaultdict[ClusterNode, list[int]] = defaultdict(list)
        for place, (key, _) in enumerate(commands):
            try:
                node = self._client.get_node_from_key(key)  # type: ignore[arg-type]
            except RedisError as error:  # a slot that no node holds
                node, replies[place] = None, error
            if node is not None:
                by_node[node].append(place)
        await self._ask(by_node, commands, replies)
        await self._follow(commands, replies)
        if commands and self._is_down() and all(isinstance(one, Exception) for one in replies):
            raise replies[0]
        return replies

    async def shards(self) -> list[str]:
        await self._client.initialize()
        return sorted(node.name for node in self._client.get_primaries())

    async def send_to(self, shard: str, commands: Sequence[bytes]) -> list[Reply]:
        await self._client.initialize()
        node = self._client.get_node(node_name=shard)
        if node is None:
            raise RedisConnectionError(f"{shard} is not a node of the cluster")
        return await self._exchange(node, commands)

    async def ping(self) -> None:
        # Any of them: a part of the cache is better than none.
        asked = [self.send_to(shard, [pack(b"PING")]) for shard in await self.shards()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        if all(isinstance(answer, BaseException) for answer in answers):
            raise RedisConnectionError("no node of the cluster answers")

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
        await self._client.aclose()

    def _is_down(self) -> bool:
        """Whether no node answers: one that is dead says nothing of the others."""
        return not any(self._breakers[one.name].is_closed for one in self._client.get_primaries())

    async def _ask(
        self,
        by_node: dict[ClusterNode, list[int]],
        commands: Sequence[Command],
        replies: list[Reply],
    ) -> None:
        """Fill in the replies of commands by node, all nodes at once."""
        await asyncio.gather(
            *(
                self._ask_node(node, places, [commands[place][1] for place in places], replies)
                for node, places in by_node.items()
            )
        )

    async def _ask_node(
        self, node: ClusterNode, places: list[int], packed: list[bytes], replies: list[Reply]
    ) -> None:
        breaker = self._breakers[node.name]
        answers: Sequence[Reply]
        if not breaker.allows(time.monotonic()):
            answers = [RedisConnectionError("the node is left alone for a while")] * len(places)
            self._refresh_soon()
        else:
            try:
                answers = await self._exchange(node, packed)
                breaker.succeeded()
            except ServerError as error:
                breaker.failed(time.monotonic())
                answers = [error] * len(places)
                self._refresh_soon()
        for place, answer in zip(places, answers, strict=True):
            replies[place] = answer

    async def _follow(self, commands: Sequence[Command], replies: list[Reply]) -> None:
        """Ask again where the cluster says that a slot has moved, or is about to."""
        moved: defaultdict[ClusterNode, list[int]] = defaultdict(list)
        for place, reply in enumerate(replies):
            if not isinstance(reply, AskError):  # MOVED is one too
                continue
            self._refresh_soon()
            node = self._client.get_node(reply.host, reply.port)
            if node is None:
                continue
            if isinstance(reply, MovedError):
                moved[node].append(place)
                continue
            try:
                _, replies[place] = await self._exchange(node, [_ASKING, commands[place][1]])
            except ServerError as error:
                replies[place] = error
        if moved:
            await self._ask(moved, commands, replies)

    async def _exchange(self, node: ClusterNode, commands: Sequence[bytes]) -> list[Reply]:
        try:
            return await self._once(node, commands)
        except TimeoutError:
            raise
        except (RedisConnectionError, OSError):  # a restart leaves dead connections behind
            await node.disconnect_free_connections()
            return await self._once(node, commands)

    async def _once(self, node: ClusterNode, commands: Sequence[bytes]) -> list[Reply]:
        connection = node.acquire_connection()
        try:
            return await exchange(connection, commands, self._timeout_s)
        finally:
            node.release(connection)

    def _refresh_soon(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        with contextlib.suppress(*ServerError):
            await self._client.nodes_manager.initialize()
        await asyncio.sleep(REFRESH_PAUSE_S)  # not more often than that
