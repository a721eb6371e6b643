"""The service as discrete events: latencies, refusals, and how an autoscaler follows the load.

Api processes are event loops that do one thing at a time; encoders have the service's own queue
(`app.encoding.queue`), its own admission (`app.encoding.admission`) and workers whose passes take a
fixed time and one a token. What the service decides is so decided by its code; simulated are time
and arrivals alone. Times are seconds from the start.

No framework: everything here is a callback at a moment, which a heap of them does in ten lines; the
processes of simpy would wrap each batch and request in a generator, for nothing.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from app.encoding.admission import Admission
from app.encoding.queue import Batch, TurnQueue
from benchmarks.autoscale import Autoscaler, Reading
from models.packing import BatchRule

CLIENT = "all"
LEAST_IN_PROGRESS = 100  # fewer are never refused unread (see app.overload)


class Outcome(IntEnum):
    """What became of a text."""

    HIT = 0
    ENCODED = 1
    JOINED = 2  # it was under way already for another
    REFUSED = 3  # by the encoder's queue
    UNREAD = 4  # by a late event loop


@dataclass(frozen=True, slots=True)
class Times:
    """What things take, in seconds.

    Attributes:
        request: of an api process's loop, for every text asked.
        answer: of it in addition, for a text that is encoded.
        aside: what a request waits for without keeping anything busy: network, round trips.
        pass_fixed: of an encoder's worker, for a pass of no tokens.
        pass_token: in addition, for each token of a pass, padding included.
        jitter: factors of passes' times, drawn from these at random; their mean should be 1.
    """

    request: float
    answer: float
    pass_fixed: float
    pass_token: float
    aside: float = 0.0
    jitter: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class System:
    """How the service is set up: its settings, by their names there."""

    times: Times
    rule: BatchRule
    apis: int = 1
    encoders: int = 1
    max_queue_s: float = 0.25
    max_queued_texts: int = 4096
    max_lag_s: float = 0.1
    cache_room: int | None = None
    cache_life_s: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """Texts asked.

    Attributes:
        times: `(n,)` ascending.
        texts: `(n,)` which text each is.
        tokens: `(n,)` of each.
    """

    times: NDArray[np.float64]
    texts: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a trace.

    Attributes:
        outcomes: `(n,)` of `Outcome`.
        latencies: `(n,)` of each text, in seconds.
        area: texts in the house, integrated over time as they came and went (Little's law).
        passes: batches that encoders ran.
        busy_s: of all encoders' workers together.
        scale: (moment, encoders that are ready, encoders wanted) at each look of the autoscaler.
    """

    outcomes: NDArray[np.int64]
    latencies: NDArray[np.float64]
    area: float
    passes: int
    busy_s: float
    scale: list[tuple[float, int, int]]

    def share(self, *outcomes: Outcome) -> float:
        return float(np.isin(self.outcomes, outcomes).mean())

    def percentile(self, q: float) -> float:
        """Of the latencies of texts that were answered; nan if none was."""
        answered = self.latencies[self.outcomes < Outcome.REFUSED]
        return float(np.percentile(answered, q)) if len(answered) else float("nan")


def poisson(
    rate: float | Callable[[float], float],
    seconds: float,
    most: float,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Arrivals at random, by thinning where the rate changes.

    Args:
        rate: texts a second, or those at a moment.
        seconds: until when.
        most: a rate that is never exceeded.
        random: where chance comes from.
    """
    count = random.poisson(most * seconds)
    times = np.sort(random.uniform(0.0, seconds, count))
    if not callable(rate):
        return times[random.random(count) < rate / most]
    return times[random.random(count) * most < np.array([rate(time) for time in times])]


class CodeStore:
    """What the cache knows: the least recently used goes, a code dies at its time."""

    def __init__(self, room: int | None, life_s: float | None) -> None:
        self._room = room
        self._life_s = life_s
        self._ends: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def look_up(self, text: int, now: float) -> bool:
        ends = self._ends.get(text)
        if ends is None:
            return False
        if ends <= now:
            del self._ends[text]
            return False
        self._ends.move_to_end(text)
        return True

    def store(self, text: int, now: float) -> None:
        self._ends[text] = now + self._life_s if self._life_s is not None else float("inf")
        self._ends.move_to_end(text)
        if self._room is not None and len(self._ends) > self._room:
            self._ends.popitem(last=False)


@dataclass(eq=False, slots=True)
class _Entry:
    """One text in an encoder's queue, and the texts asked that wait for it."""

    text: int
    asked: list[tuple[int, int]]  # number, api process


@dataclass(eq=False)
class _Encoder:
    """One encoder process."""

    queue: TurnQueue[_Entry]
    admission: Admission
    free: int
    in_flight: dict[int, _Entry] = field(default_factory=dict)
    busy_s: float = 0.0
    short_since: float | None = None
    leaving: bool = False


class Simulation:
    """One run over a trace.

    Args:
        system: the service.
        trace: what is asked.
        seed: of the jitter.
        known: texts that are in the cache when it begins.
        autoscaler: what adds and takes encoders; None for those there are.
    """

    def __init__(
        self,
        system: System,
        trace: Trace,
        *,
        seed: int = 0,
        known: Sequence[int] = (),
        autoscaler: Autoscaler | None = None,
    ) -> None:
        self._system, self._trace, self._autoscaler = system, trace, autoscaler
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now = self._changed = self._area = 0.0
        self._inside = self._passes = 0
        self._free_at = [0.0] * system.apis  # when each api's loop has nothing left to do
        self._in_progress = [0] * system.apis
        self._encoders = [self._new_encoder() for _ in range(system.encoders)]
        self._gone_busy_s = self._seen_busy_s = 0.0
        self._starting = 0
        self._cache = CodeStore(system.cache_room, system.cache_life_s)
        for text in known:
            self._cache.store(text, 0.0)
        random = np.random.default_rng(seed)
        self._jitter = itertools.cycle(random.choice(system.times.jitter, 4096).tolist())
        count = len(trace.times)
        self._outcomes = np.full(count, -1, dtype=np.int64)
        self._latencies = np.zeros(count)
        self._scale: list[tuple[float, int, int]] = []

    def run(self) -> Simulated:
        """Until the last text has been answered or refused."""
        times = self._trace.times.tolist()
        if times:
            self._at(times[0], lambda: self._arrive(0, times))
        if self._autoscaler is not None and times:
            self._at(self._autoscaler.interval_s, lambda: self._look(times[-1]))
        while self._events:
            self._now, _, event = heapq.heappop(self._events)
            event()
        busy = self._gone_busy_s + sum(encoder.busy_s for encoder in self._encoders)
        return Simulated(
            self._outcomes, self._latencies, self._area, self._passes, busy, self._scale
        )

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), event))

    def _count(self, change: int) -> None:
        self._area += self._inside * (self._now - self._changed)
        self._changed = self._now
        self._inside += change

    # The api process.

    def _arrive(self, number: int, times: list[float]) -> None:
        if number + 1 < len(times):
            self._at(times[number + 1], lambda: self._arrive(number + 1, times))
        api = number % self._system.apis
        self._count(1)
        late = self._free_at[api] - self._now
        self._in_progress[api] += 1
        if late > self._system.max_lag_s and self._in_progress[api] > LEAST_IN_PROGRESS:
            self._end(number, api, Outcome.UNREAD)
            return
        self._work(api, self._system.times.request, lambda: self._look_up(number, api))

    def _work(self, api: int, seconds: float, then: Callable[[], None]) -> None:
        """Something for an api's loop to do after what it has to do already."""
        self._free_at[api] = max(self._now, self._free_at[api]) + seconds
        self._at(self._free_at[api], then)

    def _look_up(self, number: int, api: int) -> None:
        text = int(self._trace.texts[number])
        if self._cache.look_up(text, self._now):
            self._end_aside(number, api, Outcome.HIT)
            return
        encoder = min(
            (one for one in self._encoders if not one.leaving), key=lambda one: one.queue.tokens
        )
        entry = encoder.in_flight.get(text)
        if entry is not None:
            entry.asked.append((number, api))
            return
        length = int(self._trace.tokens[number])
        tokens = self._system.rule.padded(length)
        ahead = encoder.queue.ahead(1, tokens, CLIENT)
        is_late = encoder.admission.is_late(ahead, tokens)
        if is_late or not encoder.admission.try_enter(1, CLIENT):
            self._end_aside(number, api, Outcome.REFUSED)
            return
        entry = encoder.in_flight[text] = _Entry(text, [(number, api)])
        encoder.queue.push(entry, length, client=CLIENT)
        self._dispatch(encoder)

    def _end_aside(self, number: int, api: int, outcome: Outcome) -> None:
        moment = self._now + self._system.times.aside
        self._at(moment, lambda: self._end(number, api, outcome))

    def _end(self, number: int, api: int, outcome: Outcome) -> None:
        self._count(-1)
        self._in_progress[api] -= 1
        assert self._outcomes[number] == -1, "ended twice"
        self._outcomes[number] = outcome
        self._latencies[number] = self._now - self._trace.times[number]

    # The encoder process: as app.encoding.batcher does it.

    def _new_encoder(self) -> _Encoder:
        rule = self._system.rule
        admission = Admission(self._system.max_queued_texts, self._system.max_queue_s, rule.workers)
        return _Encoder(TurnQueue(rule), admission, rule.workers)

    def _dispatch(self, encoder: _Encoder) -> None:
        times = self._system.times
        while encoder.free and (batch := encoder.queue.take()) is not None:
            encoder.free -= 1
            seconds = times.pass_fixed + times.pass_token * batch.tokens
            seconds *= next(self._jitter)
            self._finish_later(encoder, batch, seconds)

    def _finish_later(self, encoder: _Encoder, batch: Batch[_Entry], seconds: float) -> None:
        self._at(self._now + seconds, lambda: self._finish(encoder, batch, seconds))

    def _finish(self, encoder: _Encoder, batch: Batch[_Entry], seconds: float) -> None:
        since = encoder.short_since
        encoder.free += 1
        encoder.busy_s += seconds
        self._passes += 1
        self._dispatch(encoder)
        encoder.short_since = self._now if len(encoder.queue) else None
        since_last = None if since is None else self._now - since
        encoder.admission.record(batch.tokens, seconds, since_last)
        for entry in batch.entries:
            encoder.admission.leave(1, CLIENT)
            del encoder.in_flight[entry.text]
            self._cache.store(entry.text, self._now)
            for place, (number, api) in enumerate(entry.asked):
                self._answer(number, api, Outcome.JOINED if place else Outcome.ENCODED)
        self._drop(encoder)

    def _answer(self, number: int, api: int, outcome: Outcome) -> None:
        times = self._system.times
        self._work(api, times.answer, lambda: self._end_aside(number, api, outcome))

    # The autoscaler.

    def _look(self, last: float) -> None:
        assert self._autoscaler is not None
        ready = [one for one in self._encoders if not one.leaving]
        busy = self._gone_busy_s + sum(one.busy_s for one in self._encoders)
        worked = (busy - self._seen_busy_s) / self._autoscaler.interval_s
        self._seen_busy_s = busy
        workers = len(ready) * self._system.rule.workers
        reading = Reading(
            moment=self._now,
            ready=len(ready),
            starting=self._starting,
            queued_tokens=float(sum(one.queue.tokens for one in ready)),
            utilisation=worked / workers,
        )
        wanted = self._autoscaler.wanted(reading)
        self._scale.append((self._now, len(ready), wanted))
        for _ in range(wanted - len(ready) - self._starting):
            self._starting += 1
            self._at(self._now + self._autoscaler.start_s, self._started)
        for one in ready[wanted:]:
            one.leaving = True
            self._drop(one)
        if self._now < last:
            self._at(self._now + self._autoscaler.interval_s, lambda: self._look(last))

    def _started(self) -> None:
        self._starting -= 1
        self._encoders.append(self._new_encoder())

    def _drop(self, encoder: _Encoder) -> None:
        """Let an encoder go that is to leave and has nothing more to do."""
        if encoder.leaving and not encoder.in_flight and encoder in self._encoders:
            self._encoders.remove(encoder)
            self._gone_busy_s += encoder.busy_s
