"""A steady load of many kinds, each answer compared with one of when all was well.

Cached texts, texts that are not, the same once more, and batches of both, in turn over all api
processes, without a retry where none is asked for: what one caller in front of them sees.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Kind = Literal["cached", "new", "again", "batch", "burst"]

DEADLINE_MS = 5000  # of every other client; the others wait for as long as it takes
PATIENCE_S = 60.0
AGAIN_AFTER_S = 0.2
BATCH = 8
ENOUGH = 30  # answers without trouble, to call it over


@dataclass(frozen=True, slots=True)
class Truth:
    """What a text is answered with when all is well.

    Attributes:
        key: its cache key.
        predictions: by task; more than one where a task has versions that may be active.
    """

    key: str
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


Expected = dict[str, Truth]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a request. Times are of `time.monotonic()`.

    Attributes:
        kind: of the request.
        api: which process was asked.
        began: when it was sent.
        ended: when its answer was there.
        outcome: a status, or `refused` (no connection) or `broken` (a connection that ended).
        wrong: it is not what it was when all was well, or an error not of the contract's shape.
        cached: all texts that must be cached, if all is well, were.
        stored_at: when the text was first asked for, where this decides whether it is cached.
        tries: how many api processes were asked.
    """

    kind: Kind
    api: int
    began: float
    ended: float
    outcome: str
    wrong: bool
    cached: bool
    stored_at: float
    tries: int = 1

    @property
    def ok(self) -> bool:
        return self.outcome == "200" and not self.wrong


class Load:
    """Runs in a thread of its own until it is closed.

    Args:
        urls: of the api processes.
        expected: answers to all texts.
        cached: texts that are in the cache.
        new: texts that are not; each is asked for once, or in a long time again.
        tasks: sets of tasks that requests ask, in turn.
        retrying: where a process cannot be reached, or breaks the connection, the next is asked at
            once, as a proxy before them does. Asking changes nothing, so twice is no harm.
    """

    def __init__(
        self,
        urls: Sequence[str],
        expected: Expected,
        cached: Sequence[str],
        new: Sequence[str],
        tasks: Sequence[list[str]],
        *,
        retrying: bool = False,
    ) -> None:
        self.records: list[Record] = []
        self.first_wrong = ""
        self.asked_new = 0
        self._urls = urls
        self._tries = len(urls) if retrying else 1
        self._expected = expected
        self._cached = itertools.cycle(cached)
        self._new = new
        self._tasks = itertools.cycle(tasks)
        self._turns = itertools.count()
        self._running: dict[int, float] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()

    def burst(self, texts: Sequence[Sequence[str]]) -> Callable[[], None]:
        """Ask all these at once, besides; call what is returned to wait for the answers."""

        async def ask_all() -> None:
            async with self._client() as client:
                asks = [self._ask(client, "burst", some, None) for some in texts]
                await asyncio.gather(*asks)

        running = asyncio.run_coroutine_threadsafe(ask_all(), self._loop)
        return lambda: running.result(2 * PATIENCE_S)

    def since(self, began: float) -> list[Record]:
        """Records of answers that came after a moment."""
        # From the end: a long run has many.
        late = itertools.takewhile(lambda one: one.ended >= began, reversed(self.records[:]))
        return list(late)[::-1]

    def waits_from_before(self, moment: float) -> bool:
        """Whether a request is still without an answer that was sent before `moment`."""
        return any(began < moment for began in list(self._running.values()))

    def next_new(self, count: int) -> list[str]:
        """Texts that will be asked for next."""
        start = self.asked_new
        return [self._new[(start + n) % len(self._new)] for n in range(count)]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._all_clients())
        self._loop.close()

    async def _all_clients(self) -> None:
        clients: list[Coroutine[Any, Any, None]] = [
            self._ask_cached(None),
            self._ask_cached(DEADLINE_MS),
            self._ask_new(None),
            self._ask_new(DEADLINE_MS),
            self._ask_batches(None),
        ]
        await asyncio.gather(*clients)

    async def _ask_cached(self, deadline_ms: int | None) -> None:
        async with self._client() as client:
            while not self._stopping:
                await self._ask(client, "cached", [next(self._cached)], deadline_ms)
                await asyncio.sleep(0.04)

    async def _ask_new(self, deadline_ms: int | None) -> None:
        async with self._client() as client:
            while not self._stopping:
                text, began = self._take_new(), time.monotonic()
                await self._ask(client, "new", [text], deadline_ms)
                await asyncio.sleep(AGAIN_AFTER_S)
                await self._ask(client, "again", [text], deadline_ms, began)

    async def _ask_batches(self, deadline_ms: int | None) -> None:
        async with self._client() as client:
            while not self._stopping:
                some = [next(self._cached) for _ in range(BATCH)]
                some += [self._take_new() for _ in range(BATCH)]
                await self._ask(client, "batch", some, deadline_ms)
                await asyncio.sleep(0.4)

    def _take_new(self) -> str:
        text = self._new[self.asked_new % len(self._new)]
        self.asked_new += 1
        return text

    @staticmethod
    def _client() -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False)

    async def _ask(
        self,
        client: httpx.AsyncClient,
        kind: Kind,
        texts: Sequence[str],
        deadline_ms: int | None,
        stored_at: float | None = None,
    ) -> None:
        number, tasks = next(self._turns), next(self._tasks)
        api = number % len(self._urls)
        headers = {"x-request-timeout-ms": str(deadline_ms)} if deadline_ms else {}
        began = self._running[number] = time.monotonic()
        body = {"inputs": list(texts), "tasks": tasks}
        response: httpx.Response | None = None
        outcome, tries = "", 0
        while response is None and tries < self._tries:
            url = self._urls[(api + tries) % len(self._urls)]
            tries += 1
            try:
                response = await client.post(f"{url}/v1/predict", json=body, headers=headers)
                outcome = str(response.status_code)
            except httpx.ConnectError:
                outcome = "refused"
            except httpx.TransportError:
                outcome = "broken"
        ended = time.monotonic()
        problem, cached = self._judge(response, texts, tasks)
        self.first_wrong = self.first_wrong or problem
        wrong = bool(problem)
        moment = began if stored_at is None else stored_at
        record = Record(kind, api, began, ended, outcome, wrong, cached, moment, tries)
        self.records.append(record)
        del self._running[number]

    def _judge(
        self, response: httpx.Response | None, texts: Sequence[str], tasks: list[str]
    ) -> tuple[str, bool]:
        """What is wrong with an answer, if anything; whether all its texts were cached."""
        if response is None:
            return "", False
        if response.status_code != 200:
            return problem_of_error(response), False
        rows = response.json()["data"]
        if [row["index"] for row in rows] != list(range(len(texts))):
            return f"{len(rows)} rows for {len(texts)} texts", False
        for text, row in zip(texts, rows, strict=True):
            truth = self._expected[text]
            if row["key"] != truth.key:
                return f"the key of {text!r}: {row['key']}", False
            if set(row["predictions"]) != set(tasks):
                return f"the tasks of {text!r}: {list(row['predictions'])}", False
            for task, prediction in row["predictions"].items():
                if prediction not in truth.predictions[task]:
                    return f"{task} of {text!r}: {prediction}", False
        return "", all(row["cached"] for row in rows)


def problem_of_error(response: httpx.Response) -> str:
    """In which way an answer that is not 200 is not of the contract's shape, if it is not."""
    try:
        error = response.json()["error"]
        shaped = set(error) == {"message", "type", "param", "code"}
    except (ValueError, KeyError, TypeError):
        shaped = False
    if response.status_code not in (429, 503, 504):
        return f"an answer of status {response.status_code}: {response.text[:200]}"
    if not shaped:
        return f"an error of another shape: {response.text[:200]}"
    if response.status_code != 504 and int(response.headers.get("retry-after", "0")) < 1:
        return f"a {response.status_code} without Retry-After"
    return ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did to the load, from its begin until all was well again.

    Attributes:
        requests: answered or failed in that time.
        failed: of each outcome that is not 200 how many.
        wrong: answers that were wrong; must be 0.
        slowest_s: the longest that anybody waited, whatever came of it.
        slowest_cached_s: the same of cached texts.
        answered_after_s: from the fault's end to the last request that failed; None: not within
            the time given.
        cached_after_s: to the last text that should have been cached and was not.
        asked_again: requests that another api process was asked, too.
    """

    requests: int
    failed: dict[str, int]
    wrong: int
    slowest_s: float
    slowest_cached_s: float
    answered_after_s: float | None
    cached_after_s: float | None
    asked_again: int = 0


def last_trouble(records: Sequence[Record], end: float) -> tuple[float, float]:
    """Seconds after `end` of the last answer that failed, and of the last that was not cached."""
    late = [one for one in records if one.ended > end]
    failed = [one.ended for one in late if not one.ok]
    uncached = [
        one.ended
        for one in late
        if one.kind in ("cached", "again") and one.stored_at > end and not one.cached
    ]
    return max(failed, default=end) - end, max([*failed, *uncached], default=end) - end


def watch_recovery(
    load: Load, began: float, ended: float, *, settled_s: float = 2.5, limit_s: float = 120.0
) -> Outcome:
    """Wait until nothing has been amiss for `settled_s`, and sum up what was since `began`."""
    while True:
        now = time.monotonic()
        records = load.since(began)
        answered, cached = last_trouble(records, ended)
        quiet = now - ended - max(answered, cached)
        well = sum(one.ended > now - quiet for one in records)
        stuck = load.waits_from_before(ended)
        if quiet >= settled_s and well >= ENOUGH and not stuck:
            return sum_up(records, answered, cached)
        if now - ended > limit_s:
            failing = stuck or now - ended - answered < settled_s
            return sum_up(records, None if failing else answered, None)
        time.sleep(0.1)


def sum_up(records: Sequence[Record], answered_s: float | None, cached_s: float | None) -> Outcome:
    return Outcome(
        requests=len(records),
        failed=dict(Counter(one.outcome for one in records if one.outcome != "200")),
        wrong=sum(one.wrong for one in records),
        slowest_s=max((one.ended - one.began for one in records), default=0.0),
        slowest_cached_s=max(
            (one.ended - one.began for one in records if one.kind == "cached"), default=0.0
        ),
        answered_after_s=answered_s,
        cached_after_s=cached_s,
        asked_again=sum(one.tries > 1 for one in records),
    )


SUBJECTS = (
    "my card", "the app", "your agent", "this film", "the train", "her speech", "the weather",
    "my order", "the new phone", "that song", "the report", "our garden", "his cooking",
    "the hotel", "the update", "my salary",
)  # fmt: skip
FORMS = (
    "I love {}, it is number {} for me!",
    "{} is the worst of all {} that I have seen",
    "Where is {}? I have asked {} times now.",
    "Please cancel {} before {} o'clock",
    "You idiots broke {} again, for the {}th time",
    "Scientists found {} in {} places this year",
    "Thank you so much for {}, all {} of you",
    "What does {} cost, is it more than {} euros?",
    "{} makes me sad, {} days in a row",
    "The results of {} were measured {} times",
)


def varied_texts(count: int, about: str) -> list[str]:
    """Distinct texts of differing moods, so that an answer to another text shows as one."""
    return [
        f"{about} {n}: "
        + FORMS[n % len(FORMS)].format(SUBJECTS[n // len(FORMS) % len(SUBJECTS)], n)
        for n in range(count)
    ]


def chunks(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Consecutive parts of at most `size`."""
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
