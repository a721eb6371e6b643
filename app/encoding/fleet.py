"""Which of several encoders gets which texts, and which of them may be asked at all. Pure.

Members are known by their labels. What happens to them is told here (`heard`, `served`, `failed`,
`refused`), and every change that matters to people comes back as a `Change`. Times are seconds of
one clock that the caller has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

# A fault of a member itself; `other code` is one that makes other codes than most.
Fault = Literal["new", "unreachable", "timeout", "broken", "status"]
State = Literal["up", "leaving", "other code"] | Fault

PROBE_EVERY_S = 1.0
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
BUSY_S = 0.1  # after a refusal others are asked first for so long
# Fewer tokens are not divided among members: a batch of them would only be smaller.
PART_TOKENS = 2048


@dataclass(eq=False, slots=True)
class Member:
    """One encoder.

    Attributes:
        outstanding: tokens (estimated) that it has and has not answered.
        calls: requests that wait for it.
        turn: when it was last chosen; the lower the longer ago.
        fault: what is wrong with it, `new` until it was heard; empty for nothing.
        fingerprint: as last heard; empty until then.
        failures: times in a row that it was asked in vain, since it last encoded something.
        probe_at: when to ask it how it is.
        busy_until: it refused something a moment ago.
        leaving: its address is gone; it only finishes what it has.
    """

    label: str
    outstanding: int = 0
    calls: int = 0
    turn: int = 0
    fault: Fault | Literal[""] = "new"
    fingerprint: str = ""
    failures: int = 0
    probe_at: float = 0.0
    busy_until: float = 0.0
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A member's state became another. It was ejected if `is_ejection`."""

    label: str
    before: State
    after: State

    @property
    def is_ejection(self) -> bool:
        return self.after == "other code" or (
            self.before in ("up", "new") and self.after not in ("up", "new", "leaving")
        )


@dataclass(eq=False, slots=True)
class Part:
    """Texts that go to one member together.

    Attributes:
        label: of the member.
        places: of the texts.
        tokens: that it adds to what the member has.
    """

    label: str
    places: list[int] = field(default_factory=list)
    tokens: int = 0


class Fleet:
    """All encoders that one api process may ask.

    Args:
        fingerprint: of the codes that were made last, before this process; empty if not known.
    """

    def __init__(self, fingerprint: str = "") -> None:
        self.fingerprint = fingerprint
        self._members: dict[str, Member] = {}
        self._in_flight: dict[bytes, str] = {}  # where a text is being encoded
        self._turns = 0

    @property
    def members(self) -> list[Member]:
        return list(self._members.values())

    @property
    def is_up(self) -> bool:
        """Whether a member is that makes the right codes."""
        return any(
            one.fingerprint == self.fingerprint and not (one.fault or one.leaving)
            for one in self._members.values()
        )

    def state_of(self, member: Member) -> State:
        if member.leaving:
            return "leaving"
        if member.fault:
            return member.fault
        if member.fingerprint == self.fingerprint:
            return "up"
        # Before there is one that makes the codes in use, it is not decided which those are.
        return "other code" if self.is_up else "new"

    def set_members(self, labels: Iterable[str]) -> list[Change]:
        """These are all, from now on. Who is not among them gets nothing new."""
        before = self._states()
        wanted = dict.fromkeys(labels)
        for label in wanted:
            self._members.setdefault(label, Member(label)).leaving = False
        for member in self.members:
            member.leaving = member.label not in wanted
            self._drop_if_left(member)
        self._vote()
        return self._changes(before)

    # Choosing

    def divide(
        self,
        digests: Sequence[bytes],
        tokens: Sequence[int],
        now: float,
        *,
        tried: Container[str] = (),
        with_room: bool = False,
    ) -> list[Part]:
        """Who gets which texts; nobody where there is no one to ask.

        A text that is in flight goes where it is, for nothing. The others are cut into parts of
        `PART_TOKENS` or a little more, and each goes to the member with the least outstanding.

        Args:
            digests: of texts.
            tokens: of each, estimated.
            now: the time.
            tried: labels of members that are not asked.
            with_room: leave out those that have just refused something.
        """
        able = self._able(tried)
        if with_room:
            able = [one for one in able if one.busy_until <= now]
        if not able:
            return []
        loads = {one.label: one.outstanding for one in able}
        # Of those with room if there are any; of equals the one that was chosen longest ago.
        roomy = [one for one in able if one.busy_until <= now] or able
        first = [one.label for one in sorted(roomy, key=lambda one: one.turn)]
        parts: dict[str, Part] = {}
        new = []
        for place, digest in enumerate(digests):
            at = self._in_flight.get(digest)
            if at in loads:
                parts.setdefault(at, Part(at)).places.append(place)
            else:
                new.append(place)
        for some, size in cut(new, [tokens[place] for place in new]):
            label = min(first, key=lambda one: loads[one])  # the first of equals
            loads[label] += size
            part = parts.setdefault(label, Part(label))
            part.places += some
            part.tokens += size
        return list(parts.values())

    def begin(self, part: Part, digests: Sequence[bytes]) -> None:
        """A part is sent. `digests` are of all texts that it was made from."""
        member = self._members[part.label]
        member.outstanding += part.tokens
        member.calls += 1
        self._turns += 1
        member.turn = self._turns
        for place in part.places:
            self._in_flight.setdefault(digests[place], part.label)

    def end(self, part: Part, digests: Sequence[bytes]) -> None:
        """A part is answered, or given up."""
        for place in part.places:
            if self._in_flight.get(digests[place]) == part.label:
                del self._in_flight[digests[place]]
        member = self._members[part.label]
        member.outstanding -= part.tokens
        member.calls -= 1
        self._drop_if_left(member)

    # What happens to members

    def heard(self, label: str, fingerprint: str, now: float) -> list[Change]:
        """A member said who it is."""
        member = self._members.get(label)
        if member is None:
            return []
        before = self._states()
        member.fault = ""
        member.fingerprint = fingerprint
        member.probe_at = now + PROBE_EVERY_S
        self._vote()
        return self._changes(before)

    def served(self, label: str, now: float) -> None:
        """A member encoded something.

        One that was ejected meanwhile is only asked how it is: it may be finishing what it has.
        The others are asked as ever, too: who ends says so only there.
        """
        member = self._members.get(label)
        if member is None:
            return
        if member.fault:
            member.probe_at = now
        else:
            member.failures = 0

    def failed(self, label: str, fault: Fault, now: float, *, probe: bool = False) -> list[Change]:
        """A member was asked in vain; `probe` if only for how it is."""
        member = self._members.get(label)
        # Many requests can wait for a member that dies: that is one failure.
        if member is None or (member.fault not in ("", "new") and not probe):
            return []
        before = self._states()
        member.fault = fault
        member.failures += 1
        doubled = FIRST_PAUSE_S * 2 ** min(member.failures - 1, 16)
        member.probe_at = now + min(LONGEST_PAUSE_S, doubled)
        self._vote()
        return self._changes(before)

    def refused(self, label: str, now: float) -> None:
        """A member has no room."""
        if label in self._members:
            self._members[label].busy_until = now + BUSY_S

    def due(self, now: float) -> list[str]:
        """Members to be asked how they are."""
        return [one.label for one in self._members.values() if one.probe_at <= now]

    def _able(self, tried: Container[str]) -> list[Member]:
        """Members that may be asked: those that are up; where none is, those that may be again.

        So one whose ejection was a mistake, or that has just come back, is found at once, and a
        frozen one is waited for if there is no other. Never one that makes other codes.
        """
        rest = [one for one in self._members.values() if one.label not in tried]
        up = [one for one in rest if self.state_of(one) == "up"]
        if up or self.is_up:
            return up
        known = ("", self.fingerprint)
        down = [one for one in rest if one.fault and not one.leaving and one.fingerprint in known]
        # Who does not answer at all costs the most to ask.
        return [one for one in down if one.fault != "timeout"] or down

    def _vote(self) -> None:
        """The codes of most members that answer are the right ones; with equals, as before.

        Not while one was never heard: of two encoders the first to answer would decide.
        """
        staying = [one for one in self._members.values() if not one.leaving]
        if any(one.fault == "new" for one in staying):
            return
        votes = Counter(one.fingerprint for one in staying if not one.fault)
        if votes and votes[self.fingerprint] < max(votes.values()):
            self.fingerprint = votes.most_common(1)[0][0]

    def _states(self) -> dict[str, State]:
        return {label: self.state_of(one) for label, one in self._members.items()}

    def _changes(self, before: dict[str, State]) -> list[Change]:
        now = self._states()
        return [
            Change(label, before.get(label, "new"), now.get(label, "leaving"))
            for label in {**before, **now}
            if before.get(label, "new") != now.get(label, "leaving")
        ]

    def _drop_if_left(self, member: Member) -> None:
        if member.leaving and not member.calls:
            del self._members[member.label]


def cut(places: Sequence[int], tokens: Sequence[int]) -> list[tuple[list[int], int]]:
    """Consecutive parts, with their tokens, of `PART_TOKENS` or a little more each.

    What is less than that goes with the part before it.
    """
    parts: list[tuple[list[int], int]] = []
    some: list[int] = []
    size, left = 0, sum(tokens)
    for place, count in zip(places, tokens, strict=True):
        some.append(place)
        size += count
        left -= count
        if size >= PART_TOKENS and left >= PART_TOKENS:
            parts.append((some, size))
            some, size = [], 0
    return [*parts, (some, size)] if some else parts


def estimate_tokens(text: str, limit: int) -> int:
    """About so many tokens, without a tokenizer: only ratios matter here.

    Args:
        text: any.
        limit: of the encoder.
    """
    return min(limit, 2 + (len(text) // 4 if text.isascii() else len(text) // 2))
