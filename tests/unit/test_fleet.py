"""app.encoding.fleet: who is asked, who is not, and what both follow from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.encoding.fleet import (
    BUSY_S,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PART_TOKENS,
    PROBE_EVERY_S,
    Change,
    Fleet,
    Part,
    cut,
    estimate_tokens,
)

ONE, OTHER = "1" * 32, "2" * 32


def fleet_of(*labels: str, fingerprint: str = ONE) -> Fleet:
    fleet = Fleet()
    fleet.set_members(labels)
    for label in labels:
        fleet.heard(label, fingerprint, 0.0)
    return fleet


def names(count: int, first: int = 0) -> list[bytes]:
    return [n.to_bytes(16) for n in range(first, first + count)]


def states(fleet: Fleet) -> dict[str, str]:
    return {one.label: fleet.state_of(one) for one in fleet.members}


def send(fleet: Fleet, tokens: int, number: int, **more: Any) -> Part:
    """One text of so many tokens."""
    [part] = fleet.divide(names(1, number), [tokens], 0.0, **more)
    fleet.begin(part, names(1, number))
    return part


def test_the_least_outstanding_is_asked_and_of_equals_the_one_longest_ago() -> None:
    fleet = fleet_of("a", "b", "c")
    asked = [send(fleet, tokens, n).label for n, tokens in enumerate((50, 20, 30, 5, 15))]
    # b 20, then 25; the fifth finds a 50, b 25, c 30.
    assert asked == ["a", "b", "c", "b", "b"]
    assert {one.label: one.outstanding for one in fleet.members} == {"a": 50, "b": 40, "c": 30}
    idle = fleet_of("a", "b")
    turns = []
    for n in range(4):
        part = send(idle, 10, n)
        idle.end(part, names(1, n))
        turns.append(part.label)
    assert turns == ["a", "b", "a", "b"]


def test_a_text_in_flight_is_asked_of_the_encoder_that_has_it_and_adds_nothing() -> None:
    fleet = fleet_of("a", "b")
    part = send(fleet, 500, 1)
    again = send(fleet, 500, 1)
    assert again.label == part.label
    assert again.tokens == 0
    parts = fleet.divide(names(3), [10, 500, 10], 0.0)
    assert {one.label: (one.places, one.tokens) for one in parts} == {
        part.label: ([1], 0),
        "b": ([0, 2], 20),
    }
    fleet.end(part, names(1, 1))
    assert send(fleet, 500, 1).label == "b"  # no longer in flight


def test_a_large_request_is_divided_by_tokens() -> None:
    fleet = fleet_of("a", "b")
    count = 8
    parts = fleet.divide(names(count), [PART_TOKENS // 2] * count, 0.0)
    assert sorted(place for part in parts for place in part.places) == list(range(count))
    assert {part.label: part.tokens for part in parts} == {
        "a": 2 * PART_TOKENS,
        "b": 2 * PART_TOKENS,
    }
    [small] = fleet.divide(names(count), [PART_TOKENS // count] * count, 0.0)
    assert small.places == list(range(count))


def test_an_encoder_that_fails_is_out_at_once_and_asked_again_with_longer_pauses() -> None:
    fleet = fleet_of("a", "b")
    assert fleet.failed("a", "unreachable", 10.0) == [Change("a", "up", "unreachable")]
    assert fleet.failed("a", "unreachable", 10.0) == []  # others that waited for it
    assert {send(fleet, 10, n).label for n in range(5)} == {"b"}
    now, pauses = 10.0, []
    for _ in range(8):
        [member] = [one for one in fleet.members if one.label == "a"]
        assert fleet.due(member.probe_at - 1e-6) == ["b"]
        pauses.append(member.probe_at - now)
        now = member.probe_at
        fleet.failed("a", "unreachable", now, probe=True)
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert fleet.heard("a", ONE, now) == [Change("a", "unreachable", "up")]
    # It says that it is well, and fails at once: the pause goes on where it was.
    fleet.failed("a", "status", now)
    assert fleet.members[0].probe_at - now == LONGEST_PAUSE_S
    fleet.heard("a", ONE, now)
    fleet.served("a", now)
    fleet.failed("a", "status", now)
    assert fleet.members[0].probe_at - now == FIRST_PAUSE_S


def test_where_none_is_up_those_are_asked_that_may_be_again_the_silent_last() -> None:
    fleet = fleet_of("a", "b")
    fleet.failed("a", "timeout", 0.0)
    fleet.failed("b", "unreachable", 0.0)
    assert not fleet.is_up
    assert send(fleet, 1, 0).label == "b"
    assert send(fleet, 1, 1, tried={"b"}).label == "a"
    assert fleet.divide(names(1), [1], 0.0, tried={"a", "b"}) == []


def test_another_code_is_never_asked_for_and_most_decide() -> None:
    fleet = fleet_of("a", "b", "c")
    assert fleet.heard("c", OTHER, 1.0) == [Change("c", "up", "other code")]
    assert Change("c", "up", "other code").is_ejection
    assert {send(fleet, 10, n).label for n in range(6)} == {"a", "b"}
    for label in "ab":
        fleet.failed(label, "unreachable", 1.0)
        if label == "a":  # one against one: as it was
            assert (fleet.fingerprint, states(fleet)["c"]) == (ONE, "other code")
    assert (fleet.fingerprint, states(fleet)["c"]) == (OTHER, "up")
    assert {send(fleet, 10, 10 + n).label for n in range(6)} == {"c"}
    fleet.heard("a", ONE, 2.0)
    assert fleet.fingerprint == OTHER
    fleet.heard("b", ONE, 3.0)
    assert fleet.fingerprint == ONE


def test_the_first_to_answer_does_not_decide_alone() -> None:
    fleet = Fleet(ONE)
    fleet.set_members(["a", "b"])
    fleet.heard("a", OTHER, 0.0)
    assert fleet.fingerprint == ONE
    fleet.heard("b", ONE, 0.0)
    assert states(fleet) == {"a": "other code", "b": "up"}
    alone = Fleet(ONE)
    alone.set_members(["a", "b"])
    alone.heard("a", OTHER, 0.0)
    alone.failed("b", "unreachable", 0.0, probe=True)
    assert alone.fingerprint == OTHER


def test_who_refused_is_asked_last_for_a_moment_and_not_again_for_the_same_texts() -> None:
    fleet = fleet_of("a", "b")
    send(fleet, 1000, 0)
    fleet.refused("b", 0.0)
    assert send(fleet, 10, 1).label == "a"  # although it has more
    assert fleet.divide(names(1, 2), [10], 0.0, tried={"a"}, with_room=True) == []
    [part] = fleet.divide(names(1, 2), [10], BUSY_S, tried={"a"}, with_room=True)
    assert part.label == "b"
    fleet.refused("a", 0.0)
    assert send(fleet, 10, 3).label == "b"  # all have refused something: the least again


def test_who_leaves_finishes_what_it_has_and_gets_nothing_new() -> None:
    fleet = fleet_of("a", "b")
    part = send(fleet, 10, 0)
    assert part.label == "a"
    assert fleet.set_members(["b", "c"]) == [Change("a", "up", "leaving")]
    fleet.heard("c", ONE, 0.0)
    assert {send(fleet, 10, n).label for n in range(1, 5)} == {"b", "c"}
    assert states(fleet) == {"a": "leaving", "b": "up", "c": "up"}
    fleet.end(part, names(1, 0))
    assert states(fleet) == {"b": "up", "c": "up"}


def test_an_answer_to_what_it_had_does_not_bring_an_ejected_encoder_back() -> None:
    fleet = fleet_of("a", "b")
    fleet.failed("a", "status", 0.0)  # it is shutting down, and answers what it has
    fleet.served("a", 0.1)
    assert states(fleet)["a"] == "status"
    assert "a" in fleet.due(0.1)
    # Nor does one that answers all the while go unasked: it may be about to end.
    fleet.served("b", 0.5)
    assert "b" in fleet.due(PROBE_EVERY_S)


@given(st.lists(st.integers(1, 3 * PART_TOKENS), max_size=60))
def test_parts_are_all_of_it_in_order_and_neither_small_nor_large(tokens: list[int]) -> None:
    places = list(range(len(tokens)))
    parts = cut(places, tokens)
    assert [place for some, _ in parts for place in some] == places
    for some, size in parts:
        assert size == sum(tokens[place] for place in some)
        if len(parts) > 1:
            assert size >= PART_TOKENS
        if size - tokens[some[-1]] >= PART_TOKENS:  # only the last takes up what is left
            assert some == parts[-1][0]
            assert size < 2 * PART_TOKENS + tokens[some[0]] + max(tokens)


@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=6),
    st.lists(st.integers(1, 512), min_size=1, max_size=300),
)
def test_a_division_is_as_even_as_its_parts_allow(loads: list[int], tokens: list[int]) -> None:
    fleet = fleet_of(*[str(n) for n in range(len(loads))])
    for member, load in zip(fleet.members, loads, strict=True):
        member.outstanding = load
    parts = fleet.divide(names(len(tokens)), tokens, 0.0)
    assert sorted(place for part in parts for place in part.places) == list(range(len(tokens)))
    after = {one.label: one.outstanding for one in fleet.members}
    for part in parts:
        after[part.label] += part.tokens
    largest = max(size for _, size in cut(range(len(tokens)), tokens))
    for part in parts:  # who got something has no more than anybody else and one part
        assert after[part.label] <= min(after.values()) + largest


def test_tokens_are_estimated_by_letters() -> None:
    assert estimate_tokens("", 512) == 2
    assert estimate_tokens("a" * 400, 512) == 102
    assert estimate_tokens("Ж" * 40, 512) == 22
    assert estimate_tokens("a" * 4000, 512) == 512


@pytest.mark.parametrize("after", ["up", "leaving"])
def test_coming_back_and_leaving_are_no_ejections(after: Any) -> None:
    assert not Change("a", "unreachable", after).is_ejection
    assert not Change("a", "unreachable", "timeout").is_ejection
    assert Change("a", "up", "timeout").is_ejection
    assert Change("a", "new", "status").is_ejection


LABELS = "abcd"


class AnyLife(RuleBasedStateMachine):
    """Whatever happens to encoders, in whatever order."""

    @initialize(remembered=st.sampled_from(["", ONE]))
    def begin(self, remembered: str) -> None:
        self.fleet = Fleet(remembered)
        self.now = 0.0
        self.sent: list[tuple[Part, list[bytes]]] = []

    @rule(labels=st.sets(st.sampled_from(LABELS)))
    def set_members(self, labels: set[str]) -> None:
        self.fleet.set_members(sorted(labels))

    @rule(label=st.sampled_from(LABELS), fingerprint=st.sampled_from([ONE, OTHER]))
    def heard(self, label: str, fingerprint: str) -> None:
        self.fleet.heard(label, fingerprint, self.now)

    @rule(
        label=st.sampled_from(LABELS),
        fault=st.sampled_from(["unreachable", "timeout", "status"]),
        probe=st.booleans(),
    )
    def failed(self, label: str, fault: Any, probe: bool) -> None:
        self.fleet.failed(label, fault, self.now, probe=probe)

    @rule(label=st.sampled_from(LABELS))
    def refused(self, label: str) -> None:
        self.fleet.refused(label, self.now)

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        first=st.integers(0, 20),
        tokens=st.lists(st.integers(1, 2000), min_size=1, max_size=6),
        tried=st.sets(st.sampled_from(LABELS)),
        with_room=st.booleans(),
    )
    def send(self, first: int, tokens: list[int], tried: set[str], with_room: bool) -> None:
        digests = names(len(tokens), first)
        before = {one.label: one for one in self.fleet.members}
        parts = self.fleet.divide(digests, tokens, self.now, tried=tried, with_room=with_room)
        if parts:
            places = sorted(place for part in parts for place in part.places)
            assert places == list(range(len(tokens)))
        for part in parts:
            member = before[part.label]
            assert part.label not in tried
            assert not member.leaving
            if self.fleet.is_up:
                assert self.fleet.state_of(member) == "up"
            assert member.fingerprint in ("", self.fleet.fingerprint)
            if with_room:
                assert member.busy_until <= self.now
            self.fleet.begin(part, digests)
            self.sent.append((part, digests))

    @precondition(lambda self: self.sent)
    @rule(chosen=st.data(), served=st.booleans())
    def answered(self, chosen: st.DataObject, served: bool) -> None:
        number = chosen.draw(st.integers(0, len(self.sent) - 1))
        part, digests = self.sent.pop(number)
        if served:
            self.fleet.served(part.label, self.now)
        self.fleet.end(part, digests)

    @invariant()
    def what_is_outstanding_is_what_was_sent(self) -> None:
        if not hasattr(self, "fleet"):
            return
        of = dict.fromkeys(LABELS, 0)
        for part, _ in self.sent:
            of[part.label] += part.tokens
        members = {one.label: one for one in self.fleet.members}
        assert {label: one.outstanding for label, one in members.items()} == {
            label: of[label] for label in members
        }
        assert {part.label for part, _ in self.sent} <= members.keys()
        assert set(self.fleet._in_flight) <= {
            digests[place] for part, digests in self.sent for place in part.places
        }


TestAnyLife = AnyLife.TestCase
