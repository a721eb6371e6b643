"""Several encoder processes behind one `TextEncoder`: texts divided among them, and tried again.

Who is asked is decided by `app.encoding.fleet` (pure); how they are is seen by
`app.encoding.watching` (docs/decisions/024).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx

from app.encoding.addresses import Address, Place
from app.encoding.fleet import Part
from app.encoding.jobs import Job, Tries
from app.encoding.protocol import OWN_WORK, EncoderChanged, EncodeResult, EncoderState, Origin
from app.encoding.remote import EncoderClient, EncoderFailed
from app.encoding.watching import EncoderWatch, LookUp, look_up, tls_context
from app.errors import EncoderUnavailable, Overloaded
from app.metrics import Metrics
from models.encoder import EncoderInfo


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
        context = tls_context(places)

        def connect(address: Address) -> EncoderClient:
            return EncoderClient(address, key, timeout_s, context, transport)

        self._metrics = metrics
        self._watch = EncoderWatch(places, connect, memory, metrics, find)
        self._fleet = self._watch.fleet

    def start(self) -> None:
        """Look after the encoders from now on."""
        self._watch.start()

    async def info(self) -> EncoderInfo:
        """The encoder whose codes are in use.

        Raises:
            EncoderUnavailable: none was ever seen, and none can be reached now.
        """
        known = self._watch.known
        if known.current is None:
            await self._watch.look_at_all()
        if known.current is None:
            raise EncoderUnavailable("no encoder has been reached yet", retry_after=1)
        return known.current

    def is_up(self) -> bool:
        return self._fleet.is_up

    def states(self) -> list[EncoderState]:
        return self._watch.states()

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
            await self._watch.look_at_all()
        await self._encode(job, range(len(texts)), Tries())
        return job.result()

    async def close(self) -> None:
        await self._watch.close()

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
        places = [all_places[place] for place in part.places]
        self._fleet.begin(part, names)
        try:
            error = await self._ask(job, places, part.label)
        finally:
            self._fleet.end(part, names)
        if error is None:
            return
        tried = tries.after(part.label, error)
        job.check_time(self._now)
        self._metrics.encoder_retries.labels(tried.reason).inc()
        await self._encode(job, places, tried)

    async def _ask(
        self, job: Job, places: list[int], label: str
    ) -> Overloaded | EncoderFailed | EncoderChanged | None:
        """Ask one encoder; what there was instead of an answer.

        Raises:
            EncoderChanged: by its answer, all encoders have.
        """
        texts = [job.texts[place] for place in places]
        try:
            with self._watch.given_up_if_frozen(label) as waiting:
                async with waiting:
                    fingerprint, result = await self._watch.client(label).encode(
                        texts, job.info, job.origin, embeddings=job.embeddings
                    )
        except TimeoutError:
            return EncoderFailed("the encoder does not answer", "timeout")
        except EncoderFailed as error:
            self._watch.failed(label, error)
            return error
        except Overloaded as refusal:
            self._fleet.refused(label, self._now)
            return refusal
        if result is not None:
            self._fleet.served(label, self._now)
            job.add(places, result)
            return None
        await self._watch.look_at(label)
        changed = EncoderChanged(fingerprint)
        if self._fleet.fingerprint != job.info.fingerprint:
            raise changed
        return changed

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()
