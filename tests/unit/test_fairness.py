"""app.encoding.queue between clients: whoever asks for much waits, not the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.encoding.admission import RESERVE, Admission
from app.encoding.queue import IDLE_CLIENTS, Batch, TurnQueue
from models.packing import BatchRule, candidates
from tests.unit.house import FINGERPRINT, House

Named = tuple[str, int]  # client, number
LONGEST = 32
RULES = [
    BatchRule(64, overhead=4, attention=0.05),
    BatchRule(16, buckets=(4, 8, 16, 32)),
    BatchRule(1),
]


def taken(queue: TurnQueue[Named]) -> Batch[Named]:
    batch = queue.take()
    assert batch is not None
    return batch


@dataclass
class Backlog:
    """A client that always has texts of these lengths waiting."""

    name: str
    lengths: list[int]
    pushed: int = 0

    def fill(self, queue: TurnQueue[Named], waiting: int) -> None:
        while waiting < 80:
            length = self.lengths[self.pushed % len(self.lengths)]
            queue.push((self.name, self.pushed), length, client=self.name)
            self.pushed += 1
            waiting += 1


@settings(max_examples=30)
@given(
    st.sampled_from(RULES),
    st.lists(st.lists(st.integers(1, LONGEST), min_size=1, max_size=4), min_size=2, max_size=4),
)
def test_clients_that_always_want_more_get_the_same_number_of_tokens(
    batching: BatchRule, lengths: list[list[int]]
) -> None:
    queue: TurnQueue[Named] = TurnQueue(batching)
    backlogs = [Backlog(f"client {number}", own) for number, own in enumerate(lengths)]
    waiting: Counter[str] = Counter()
    given_to: Counter[str] = Counter()
    for _ in range(60):
        for backlog in backlogs:
            before = backlog.pushed
            backlog.fill(queue, waiting[backlog.name])
            waiting[backlog.name] += backlog.pushed - before
        for name, number in taken(queue).entries:
            own = next(one for one in backlogs if one.name == name)
            given_to[name] += batching.padded(own.lengths[number % len(own.lengths)])
            waiting[name] -= 1
        # What a batch is chosen from, and a batch: nobody is ahead by more, however long it goes.
        room = candidates(1, batching) * LONGEST + batching.max_tokens + LONGEST
        served = [given_to[backlog.name] for backlog in backlogs]
        assert max(served) - min(served) <= room


@given(
    st.integers(1, 3000),
    st.integers(1, 40),
    st.integers(1, LONGEST),
    st.integers(1, LONGEST),
    st.sampled_from(RULES),
)
def test_a_single_text_is_next_or_nearly_so_whatever_another_client_queued(
    texts: int, requests: int, length: int, own: int, batching: BatchRule
) -> None:
    queue: TurnQueue[Named] = TurnQueue(batching)
    for number in range(texts):
        queue.push(("large", number), length, number // requests, client="large")
    taken(queue)
    queue.push(("small", 0), own, client="small")
    # The large one has had a batch by now, so it is the small one's turn.
    assert ("small", 0) in taken(queue).entries


def test_more_requests_of_one_client_are_no_more_turns() -> None:
    queue: TurnQueue[Named] = TurnQueue(BatchRule(4, buckets=(4,)))  # one text a batch
    for number in range(50):
        queue.push(("many", number), 4, client="many")  # fifty requests of one text
    for number in range(5):
        queue.push(("one", number), 4, number, client="one")  # one request of five
    first_ten = [taken(queue).entries[0][0] for _ in range(10)]
    assert Counter(first_ten) == {"many": 5, "one": 5}


def test_whoever_waited_for_nothing_has_saved_up_nothing() -> None:
    queue: TurnQueue[Named] = TurnQueue(BatchRule(4, buckets=(4,)))
    queue.push(("late", 0), 4, client="late")
    taken(queue)
    for number in range(40):
        queue.push(("busy", number), 4, client="busy")
    for _ in range(20):
        taken(queue)
    for number in range(1, 21):
        queue.push(("late", number), 4, client="late")
    order = [taken(queue).entries[0][0] for _ in range(20)]
    assert Counter(order) == {"late": 10, "busy": 10}


def test_ahead_of_a_small_request_is_little_of_another_clients_much() -> None:
    queue: TurnQueue[Named] = TurnQueue(BatchRule(64))
    for number in range(1000):
        queue.push(("large", number), 10, number, client="large")
    assert queue.ahead(1, 10, "small") == 10
    assert queue.ahead(100, 1000, "small") == 1000
    assert queue.ahead(1, 10, "large") == 10
    assert queue.ahead(2000, 10, "large") == 10_000


def test_the_services_own_work_gets_a_fifth_beside_a_client() -> None:
    queue: TurnQueue[Named] = TurnQueue(BatchRule(4, buckets=(4,)))
    for number in range(200):
        queue.push(("", number), 4, number)
        queue.push(("one", number), 4, client="one")
    order = [taken(queue).entries[0][0] for _ in range(100)]
    assert Counter(order) == {"": 20, "one": 80}
    # And all of it when nobody else asks.
    for number in range(200):
        queue.discard(("one", number))
    assert taken(queue).entries[0][0] == ""


class ClientsMachine(RuleBasedStateMachine):
    """Any pushes, takes and discards of several clients: counts are exact, nothing is lost."""

    @initialize(batching=st.sampled_from(RULES))
    def start(self, batching: BatchRule) -> None:
        self.batching = batching
        self.queue: TurnQueue[Named] = TurnQueue(batching)
        self.waiting: dict[Named, int] = {}
        self.pushed = 0

    @rule(
        client=st.sampled_from(["", "a", "b", "c"]),
        lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=10),
    )
    def push(self, client: str, lengths: list[int]) -> None:
        if self.batching.buckets is not None:
            lengths = [min(length, self.batching.buckets[-1]) for length in lengths]
        for place, length in enumerate(lengths):
            entry = (client, self.pushed)
            self.queue.push(entry, length, place, client)
            self.waiting[entry] = length
            self.pushed += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.queue.discard(gone)
        assert not self.queue.discard(gone)
        del self.waiting[gone]

    @rule()
    def take(self) -> None:
        batch = self.queue.take()
        if batch is None:
            assert not self.waiting
            return
        real = sum(self.waiting.pop(entry) for entry in batch.entries)
        assert batch.real_tokens == real
        assert batch.tokens <= self.batching.max_tokens or len(batch.entries) == 1

    @invariant()
    def counts_are_exact(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.tokens == sum(map(self.batching.padded, self.waiting.values()))
        for client in ("", "a", "nobody"):
            assert 0 <= self.queue.ahead(1, 1, client) <= self.queue.tokens

    def teardown(self) -> None:
        while getattr(self, "waiting", None):
            self.take()


TestClientsMachine = ClientsMachine.TestCase
TestClientsMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_clients_that_left_are_forgotten() -> None:
    queue: TurnQueue[Named] = TurnQueue(BatchRule(64))
    for number in range(1000):
        queue.push(("one", number), 5, client=f"client {number}")
        taken(queue)
    assert len(queue._clients) <= IDLE_CLIENTS + 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=60))
def test_permits_by_client_are_exact_and_bounded(asked: list[tuple[str, int]]) -> None:
    limit = 40
    admission = Admission(limit, 1)
    held: Counter[str] = Counter()
    for client, texts in asked:
        if admission.try_enter(texts, client):
            held[client] += texts
        elif held[client]:
            admission.leave(held[client], client)
            held[client] = 0
        assert admission.texts == held.total() <= limit + limit // RESERVE


def test_who_takes_all_permits_shuts_nobody_out() -> None:
    admission = Admission(80, 1)
    assert admission.try_enter(80, "large")
    assert not admission.try_enter(1, "large")
    assert admission.try_enter(1, "small")
    assert admission.try_enter(9, "other")
    assert not admission.try_enter(1, "third")  # all are in use
    admission.leave(80, "large")
    assert admission.try_enter(11, "third")


async def test_the_batcher_gives_a_single_text_its_turn(house: House) -> None:
    from app.cache.keys import digest_texts
    from app.encoding.protocol import Origin

    def ask(client: str, texts: list[str]) -> object:
        digests = digest_texts(FINGERPRINT, texts)
        return house.batcher.encode(texts, digests, origin=Origin(client))

    import asyncio

    held = await house.occupy_device()
    large = [
        asyncio.ensure_future(ask("large", [f"l {number}.{n}" for n in range(8)]))  # type: ignore[arg-type]
        for number in range(10)
    ]
    await house.until_queued(80)
    small = asyncio.ensure_future(ask("small", ["s"]))  # type: ignore[arg-type]
    await house.until_queued(81)
    house.encoder.gate.set()
    await asyncio.gather(held, small, *large)
    order = [text for texts in house.encoder.passes for text in texts]
    assert order.index("s") < 40  # of 82: not behind what came before it


@pytest.mark.parametrize("client", ["", "large"])
async def test_permits_come_back_to_their_client(house: House, client: str) -> None:
    from app.cache.keys import digest_texts
    from app.encoding.protocol import Origin

    digests = digest_texts(FINGERPRINT, ["a", "b"])
    await house.batcher.encode(["a", "b"], digests, origin=Origin(client))
    assert not house.batcher._admission._held
