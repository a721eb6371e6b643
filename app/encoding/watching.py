"""Which encoder processes there are and how they are: look-ups of names, probes, connections.

What follows from it is decided by `app.encoding.fleet`; here are its clock and its senses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path

import httpx

from app.encoding.addresses import Address, Place, addresses_of
from app.encoding.fleet import Change, Fleet
from app.encoding.known import KnownEncoders
from app.encoding.protocol import EncoderState
from app.encoding.remote import PROBE_TIMEOUT_S, EncoderClient, EncoderFailed
from app.errors import ApiError
from app.metrics import Metrics

logger = logging.getLogger(__name__)

TICK_S = 0.1
LOOK_UP_EVERY_S = 3.0
# A probe that took so much longer than its time-out says that this process is late.
LATE_S = 0.5

Connect = Callable[[Address], EncoderClient]
LookUp = Callable[[Place], Awaitable[list[str]]]


async def look_up(place: Place) -> list[str]:
    """The numbers that a name has now, in a thread.

    Raises:
        OSError: none, or no answer.
    """
    if not place.is_name:
        return [place.host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class EncoderWatch:
    """The encoder processes behind some places, and the fleet that they make.

    Args:
        places: where they are.
        connect: makes the connections to one.
        memory: file that remembers the encoder between starts.
        metrics: of this process.
        find: looks names up.

    Attributes:
        fleet: told of all that is seen here.
        known: their identities.
    """

    def __init__(
        self,
        places: Sequence[Place],
        connect: Connect,
        memory: Path,
        metrics: Metrics,
        find: LookUp,
    ) -> None:
        self._places = places
        self._connect = connect
        self._metrics = metrics
        self._find = find
        self.known = KnownEncoders(memory)
        self.fleet = Fleet(self.known.current.fingerprint if self.known.current else "")
        self._addresses: dict[Place, list[Address]] = {}
        self._lost: set[Place] = set()  # names that could not be looked up
        self._clients: dict[str, EncoderClient] = {}
        self._waiting: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._looking_up: asyncio.Task[None] | None = None
        self._look_up_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.before_exposition.append(lambda: metrics.show_encoders(self.states()))

    def start(self) -> None:
        """Look after them from now on."""
        self._run(self._look_after())

    async def close(self) -> None:
        tasks = [*self._tasks, *self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    def states(self) -> list[EncoderState]:
        return [
            EncoderState(one.label, self.fleet.state_of(one), one.outstanding)
            for one in self.fleet.members
        ]

    def client(self, label: str) -> EncoderClient:
        """Connections to a member of the fleet."""
        return self._clients[label]

    def failed(self, label: str, error: EncoderFailed) -> None:
        """An encoder was asked to encode something, in vain."""
        self._note(self.fleet.failed(label, error.fault, self._now))

    @contextlib.contextmanager
    def given_up_if_frozen(self, label: str) -> Iterator[asyncio.Timeout]:
        """A time-out without a time: it ends when the encoder turns out not to answer.

        And only if there is another to be asked.
        """
        waiting = asyncio.timeout(None)
        self._waiting[label].add(waiting)
        try:
            yield waiting
        finally:
            others = self._waiting.get(label, set())
            others.discard(waiting)
            if not others:
                self._waiting.pop(label, None)

    async def look_at_all(self) -> None:
        """Find all encoders, and ask each who it is."""
        if not self.fleet.members:
            await asyncio.wait([self._start_look_up()])
        probes = [self._start_probe(one.label) for one in self.fleet.members]
        if probes:
            await asyncio.wait(probes)

    async def look_at(self, label: str) -> None:
        """Ask an encoder who it is."""
        await asyncio.wait([self._start_probe(label)])

    async def _look_after(self) -> None:
        while True:
            if self._now >= self._look_up_at:
                self._start_look_up()
            for label in self.fleet.due(self._now):
                self._start_probe(label)
            await self._close_left()
            await asyncio.sleep(TICK_S)

    def _start_probe(self, label: str) -> asyncio.Task[None]:
        """Ask an encoder who it is, unless that is under way."""
        task = self._probing.get(label)
        if task is None:
            task = self._probing[label] = asyncio.create_task(self._probe(label))
            task.add_done_callback(lambda _: self._probing.pop(label, None))
        return task

    async def _probe(self, label: str) -> None:
        client = self._clients.get(label)
        if client is None:
            return
        began = self._now
        try:
            info = await client.info()
        except (EncoderFailed, ApiError) as error:
            if self._now - began > PROBE_TIMEOUT_S + LATE_S:
                return
            fault = error.fault if isinstance(error, EncoderFailed) else "status"
            self._note(self.fleet.failed(label, fault, self._now, probe=True))
        else:
            self.known.add(info)
            self._note(self.fleet.heard(label, info.fingerprint, self._now))

    def _start_look_up(self) -> asyncio.Task[None]:
        self._look_up_at = self._now + LOOK_UP_EVERY_S
        if self._looking_up is None or self._looking_up.done():
            self._looking_up = self._run(self._look_up())
        return self._looking_up

    async def _look_up(self) -> None:
        """Find out which encoders there are. Where that fails, those that there were are."""
        places = [one for one in self._places if one.is_name or one not in self._addresses]
        if not places:
            return
        await asyncio.gather(*map(self._look_up_one, places))
        found = {
            address.label: address
            for place in self._places
            for address in self._addresses.get(place, ())
        }
        for label, address in found.items():
            if label not in self._clients:
                self._clients[label] = self._connect(address)
        self._note(self.fleet.set_members(found))

    async def _look_up_one(self, place: Place) -> None:
        try:
            numbers = await self._find(place)
        except (OSError, UnicodeError) as error:
            if place not in self._lost:
                self._lost.add(place)
                logger.warning("cannot look up encoders: %s", type(error).__name__)
            return
        self._lost.discard(place)
        if numbers:
            self._addresses[place] = addresses_of(place, numbers)

    async def _close_left(self) -> None:
        """End the connections to encoders that are no more."""
        if len(self._clients) == len(self.fleet.members):
            return
        members = {one.label for one in self.fleet.members}
        for label in self._clients.keys() - members:
            await self._clients.pop(label).close()
            self._metrics.forget_encoder(label)

    def _note(self, changes: list[Change]) -> None:
        """Say what became of encoders, and act on it."""
        self.known.use(self.fleet.fingerprint)
        for change in changes:
            if change.after == "up":
                logger.info("encoder %s is up", change.label)
            elif change.is_ejection:
                self._metrics.encoder_ejections.labels(change.label, change.after).inc()
                logger.warning("encoder %s is out: %s", change.label, _reason(change))
                self._look_up_at = 0.0  # it may have another number by now
        if changes and self.fleet.is_up:  # somebody else can be asked
            for member in self.fleet.members:
                if member.fault == "timeout":
                    for waiting in self._waiting.pop(member.label, ()):
                        waiting.reschedule(self._now)

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def tls_context(places: Sequence[Place]) -> ssl.SSLContext:
    """One for all encoders; where none needs it, one that trusts nobody: authorities take 10 ms."""
    if any(place.scheme == "https" for place in places):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(change: Change) -> str:
    if change.after == "other code":
        return "it makes other codes than most (another fingerprint)"
    return change.after
