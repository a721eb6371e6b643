"""app.cache.generations: when buckets are added, and when they expire."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.cache.generations import (
    FIRST_BITS,
    FULL,
    MAX_BITS,
    MOST,
    ROOMY,
    SLICES,
    Generation,
    Generations,
    advance,
    bits_for,
    first,
    merged,
    read,
    to_merge,
    write,
)

NOW = 1_700_000_000
times = st.integers(0, 2**33)


@st.composite
def lists(draw: st.DrawFn) -> Generations:
    numbers = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=5, unique=True))
    bits, merging = st.integers(0, MAX_BITS), st.booleans()
    newest, *others = [
        Generation(number, draw(bits), draw(times), draw(times), draw(merging))
        for number in sorted(numbers, reverse=True)
    ]
    return (newest._replace(merging=False), *others)


@given(lists())
def test_round_trip(generations: Generations) -> None:
    assert read(write(generations)) == generations


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused_or_ours(held: bytes) -> None:
    try:
        generations = read(held)
    except ValueError:
        return
    assert write(generations) == held


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"1 8 0 0",
        b"1 8 0 0 2",
        b"1 99 0 0 0",
        b"1 8 0 0 1",  # nothing to merge into
        b"1 8 0 0 0;2 9 0 0 1",  # newest last
        b"01 8 0 0 0",
        b"1  8 0 0 0",
        b"1 8 0 0 0;",
        b"-1 8 0 0 0",
    ],
)
def test_lists_that_cannot_be_are_refused(held: bytes) -> None:
    with pytest.raises(ValueError):
        read(held)


def test_a_full_generation_gets_a_successor_of_twice_the_buckets() -> None:
    [old] = first(NOW, 0)
    assert advance((old,), NOW, FULL, 0) == (old,)
    grown, former = advance((old,), NOW, FULL + 1, 0)
    assert (grown.bits, grown.number) == (old.bits + 1, old.number + 1)
    assert former == old._replace(merging=True)
    assert to_merge((grown, former)) == (former, grown)
    assert merged((grown, former), former.number) == (grown,)


def test_growth_waits_for_the_merge_before() -> None:
    now_two = advance(first(NOW, 0), NOW, FULL + 1, 0)
    assert advance(now_two, NOW, 10 * FULL, 0) == now_two


def test_a_flood_is_met_by_as_many_buckets_as_it_needs() -> None:
    [old] = first(NOW, 0)
    grown, _ = advance((old,), NOW, 1000, 0)
    assert 1000 * old.buckets / grown.buckets <= ROOMY


@given(st.floats(0, 2**31))
def test_bits_are_the_fewest_that_are_roomy(codes: float) -> None:
    bits = bits_for(codes)
    assert codes / 2**bits <= ROOMY
    assert bits == FIRST_BITS or codes / 2 ** (bits - 1) > ROOMY


@given(st.integers(1, 10**6), st.floats(0, 200), st.lists(st.integers(1, 10**6), max_size=20))
def test_a_code_lives_for_its_time_and_a_slice_at_most(
    ttl_s: int, mean: float, steps: list[int]
) -> None:
    """Whenever written, into the newest of a list that was looked after just before."""
    generations, now = first(NOW, ttl_s), NOW
    slice_s = -(-ttl_s // SLICES)
    for step in steps:
        now += step
        generations = advance(generations, now, mean, ttl_s)
        newest = generations[0]
        assert ttl_s <= newest.expires_at - now <= ttl_s + slice_s

        assert all(one.expires_at > now for one in generations[1:])


@given(st.integers(4, 10**6), st.floats(0, FULL))
def test_few_generations_are_to_be_asked(ttl_s: int, mean: float) -> None:
    generations = first(NOW, ttl_s)
    for tick in range(60):
        generations = advance(generations, NOW + tick * ttl_s // 10, mean, ttl_s)
        assert len(generations) <= SLICES + 2  # one of them about to expire


@given(lists(), times, st.floats(0, 500), st.integers(0, 10**6))
def test_nothing_is_dropped_before_it_expires(
    generations: Generations, now: int, mean: float, ttl_s: int
) -> None:
    after = advance(generations, now, mean, ttl_s)
    numbers = {one.number for one in after}
    for one in generations:
        assert one.number in numbers or 0 < one.expires_at <= now
    assert read(write(after)) == after
    assert len(after) <= max(MOST, len(generations))
    kept = {one.number: one for one in generations}
    for one in after:
        if one.number in kept:  # only the mark changes, never where codes are
            assert one._replace(merging=False) == kept[one.number]._replace(merging=False)


def test_a_time_to_live_set_later_reaches_what_is_there() -> None:
    old = first(NOW, 0)
    opened, former = advance(old, NOW, 10, 3600)
    assert opened.expires_at > NOW
    assert former.merging
    assert to_merge((opened, former)) == (former, opened)


def test_without_a_time_to_live_what_expires_still_does() -> None:
    old = first(NOW, 3600)
    opened, former = advance(old, NOW, 10, 0)
    assert opened.expires_at == 0
    assert former == old[0]


def test_processes_that_disagree_about_the_time_make_no_long_list() -> None:
    generations = first(NOW, 0)
    for number in range(100):
        generations = advance(generations, NOW, 10, 3600 * (number % 2))
    assert len(generations) <= MOST


@given(lists())
def test_the_oldest_is_merged_first_into_its_successor(generations: Generations) -> None:
    pair = to_merge(generations)
    assume(pair is not None)
    assert pair is not None
    source, target = pair
    place = generations.index(source)
    assert source.merging
    assert target == generations[place - 1]
    assert not any(one.merging for one in generations[place + 1 :])
