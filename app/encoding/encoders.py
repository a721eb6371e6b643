"""Several encoder processes behind one `TextEncoder`: spread, watched, retried.

Who is asked is decided by `app.encoding.fleet` (pure); here are the connections, the clock and the
look-ups of names (docs/decisions/024).
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
from app.encoding.fleet import Change, Fleet, Part
from app.encoding.jobs import Job, Tries
from app.encoding.known import KnownEncoders
from app.encoding.protocol import OWN_WORK, EncoderChanged, EncodeResult, EncoderState, Origin
from app.encoding.remote import PROBE_TIMEOUT_S, EncoderClient, EncoderFailed
from app.errors import ApiError, EncoderUnavailable, Overloaded
from app.metrics import Metrics
from models.encoder import EncoderInfo

logger = logging.getLogger(__name__)

TICK_S = 0.1
LOOK_UP_EVERY_S = 3.0
# A probe that took so much longer than its time-out says that this process is late.
LATE_S = 0.5

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


class RemoteEncoders:
    """Texts to codes by encoder processes (see `TextEncoder`).

    Args:
        places: where they are.
        key: bearer key for all of them, or empty.
        timeout_s: for one encode call.
        memory: file that remembers the encoder between starts.
        metrics: of this process.
        find: looks names up.
        transport: for tests.
    """

    def __init__(
        self,
        places: Sequence[Place],
        key: str,
        timeout_s: float,
        memory: Path,
        metrics: Metrics,
        *,
        find: LookUp = look_up,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._places = places
        self._key = key
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._find = find
        self._transport = transport
        self._context = _tls_context(places)
        self._known = KnownEncoders(memory)
        self._fleet = Fleet(self._known.current.fingerprint if self._known.current else "")
        self._numbers: dict[Place, list[Address]] = {}
        self._lost: set[Place] = set()
        self._clients: dict[str, EncoderClient] = {}
        self._waiting: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._looking_up: asyncio.Task[None] | None = None
        self._look_up_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.before_exposition.append(self._publish)

    def start(self) -> None:
        """Look after the encoders from now on."""
        self._run(self._look_after())

    async def info(self) -> EncoderInfo:
        """The encoder whose codes are in use.

        Raises:
            EncoderUnavailable: none was ever seen, and none can be reached now.
        """
        if self._known.current is None:
            await self._look_at_all()
        if self._known.current is None:
            raise EncoderUnavailable("no encoder has been reached yet", retry_after=1)
        return self._known.current

    def is_up(self) -> bool:
        return self._fleet.is_up

    def states(self) -> list[EncoderState]:
        return [
            EncoderState(one.label, self._fleet.state_of(one), one.outstanding)
            for one in self._fleet.members
        ]

    async def encode(
        self,
        texts: Sequence[str],
        digests: Sequence[bytes],
        *,
        embeddings: bool = False,
        origin: Origin = OWN_WORK,
    ) -> EncodeResult:
        """Encode distinct texts; the encoder processes write their codes to the shared cache.

        Raises:
            Overloaded: who was asked refuses more for now.
            DeadlineExceeded: it was not done in time.
            EncoderUnavailable: nobody answers as an encoder should.
            EncoderChanged: codes are made by another encoder than `info` said; ask `info` again.
        """
        job = Job(texts, digests, await self.info(), origin, embeddings=embeddings)
        if not self._fleet.members:
            await self._look_at_all()
        await self._encode(job, range(len(texts)), Tries())
        return job.result()

    async def close(self) -> None:
        tasks = [*self._tasks, *self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    # Encoding

    async def _encode(self, job: Job, places: Sequence[int], tries: Tries) -> None:
        """Have texts of a job encoded by whoever is to be asked next."""
        names = [job.names[place] for place in places]
        parts = self._fleet.divide(
            names,
            [job.tokens[place] for place in places],
            self._now,
            tried=tries.labels,
            with_room=tries.refusal is not None,
        )
        if not parts:
            raise tries.end()
        if len(parts) == 1:
            await self._send(job, places, names, parts[0], tries)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._send(job, places, names, part, tries))
        except ExceptionGroup as errors:  # the others were cancelled at the first
            raise errors.exceptions[0] from None

    async def _send(
        self, job: Job, all_places: Sequence[int], names: list[bytes], part: Part, tries: Tries
    ) -> None:
        """Send one part; if its encoder fails or refuses, go on with the others."""
        label, places = part.label, [all_places[place] for place in part.places]
        error: Overloaded | EncoderFailed | EncoderChanged
        self._fleet.begin(part, names)
        try:
            with self._given_up_if_frozen(label) as waiting:
                async with waiting:
                    fingerprint, result = await self._clients[label].encode(
                        [job.texts[place] for place in places],
                        job.info,
                        job.origin,
                        embeddings=job.embeddings,
                    )
        except TimeoutError:
            error = EncoderFailed("the encoder does not answer", "timeout")
        except EncoderFailed as failed:
            error = failed
            self._note(self._fleet.failed(label, failed.fault, self._now))
        except Overloaded as refusal:
            error = refusal
            self._fleet.refused(label, self._now)
        else:
            if result is not None:
                self._fleet.served(label, self._now)
                job.add(places, result)
                return
            error = EncoderChanged(fingerprint)
            await self._look_at(label)
            if self._fleet.fingerprint != job.info.fingerprint:
                raise error
        finally:
            self._fleet.end(part, names)
        tried = tries.after(label, error)
        job.check_time(self._now)
        self._metrics.encoder_retries.labels(tried.reason).inc()
        await self._encode(job, places, tried)

    @contextlib.contextmanager
    def _given_up_if_frozen(self, label: str) -> Iterator[asyncio.Timeout]:
        """A time-out without a time: it ends when the encoder turns out not to answer."""
        waiting = asyncio.timeout(None)
        self._waiting[label].add(waiting)
        try:
            yield waiting
        finally:
            others = self._waiting.get(label, set())
            others.discard(waiting)
            if not others:
                self._waiting.pop(label, None)

    # Looking after them

    async def _look_after(self) -> None:
        while True:
            if self._now >= self._look_up_at:
                self._start_look_up()
            for label in self._fleet.due(self._now):
                self._start_probe(label)
            await self._close_left()
            await asyncio.sleep(TICK_S)

    async def _look_at_all(self) -> None:
        """Find all encoders, and ask each who it is."""
        if not self._fleet.members:
            await asyncio.wait([self._start_look_up()])
        probes = [self._start_probe(one.label) for one in self._fleet.members]
        if probes:
            await asyncio.wait(probes)

    async def _look_at(self, label: str) -> None:
        await asyncio.wait([self._start_probe(label)])

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
            self._note(self._fleet.failed(label, fault, self._now, probe=True))
        else:
            self._known.add(info)
            self._note(self._fleet.heard(label, info.fingerprint, self._now))

    def _start_look_up(self) -> asyncio.Task[None]:
        self._look_up_at = self._now + LOOK_UP_EVERY_S
        if self._looking_up is None or self._looking_up.done():
            self._looking_up = self._run(self._look_up())
        return self._looking_up

    async def _look_up(self) -> None:
        """Find out which encoders there are."""
        names = [one for one in self._places if one.is_name or one not in self._numbers]
        if not names:
            return
        found = await asyncio.gather(*map(self._find, names), return_exceptions=True)
        for place, numbers in zip(names, found, strict=True):
            if isinstance(numbers, OSError | UnicodeError):
                if place not in self._lost:
                    self._lost.add(place)
                    logger.warning("cannot look up encoders: %s", type(numbers).__name__)
            elif isinstance(numbers, BaseException):
                raise numbers
            elif numbers:  # else those that there were
                self._lost.discard(place)
                self._numbers[place] = addresses_of(place, numbers)
        all_of_them = {
            address.label: address
            for place in self._places
            for address in self._numbers.get(place, ())
        }
        for label, address in all_of_them.items():
            if label not in self._clients:
                self._clients[label] = EncoderClient(
                    address, self._key, self._timeout_s, self._context, self._transport
                )
        self._note(self._fleet.set_members(all_of_them))

    async def _close_left(self) -> None:
        """End the connections to encoders that are no more."""
        if len(self._clients) == len(self._fleet.members):
            return
        members = {one.label for one in self._fleet.members}
        for label in self._clients.keys() - members:
            await self._clients.pop(label).close()
            self._metrics.forget_encoder(label)

    def _note(self, changes: list[Change]) -> None:
        """Say what became of encoders, and act on it."""
        self._known.use(self._fleet.fingerprint)
        for change in changes:
            if change.after == "up":
                logger.info("encoder %s is up", change.label)
            elif change.is_ejection:
                self._metrics.encoder_ejections.labels(change.label, change.after).inc()
                logger.warning("encoder %s is out: %s", change.label, _reason(change))
                self._look_up_at = 0.0  # it may have another number by now
        if changes and self._fleet.is_up:  # somebody else can be asked
            for member in self._fleet.members:
                if member.fault == "timeout":
                    for waiting in self._waiting.pop(member.label, ()):
                        waiting.reschedule(self._now)

    def _publish(self) -> None:
        self._metrics.show_encoders(self.states())

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _tls_context(places: Sequence[Place]) -> ssl.SSLContext:
    """One for all encoders; where none needs it, one that trusts nobody: authorities take 10 ms."""
    if any(place.scheme == "https" for place in places):
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(change: Change) -> str:
    if change.after == "other code":
        return "it makes other codes than most (another fingerprint)"
    return change.after
