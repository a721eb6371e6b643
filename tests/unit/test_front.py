"""app.cache.front: bounded in bytes, least recently used out."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from app.cache.front import ENTRY_OVERHEAD, FrontCache
from app.cache.keys import StoredCode


def stored(size: int = 4) -> StoredCode:
    return StoredCode(bytes(size), 3, False)


def room_for(entries: int, size: int = 4) -> int:
    return entries * (ENTRY_OVERHEAD + size)


def test_get_many_keeps_order_and_marks_absent_ones() -> None:
    front = FrontCache(room_for(3))
    one, two = StoredCode(b"1", 1, False), StoredCode(b"2", 2, True)
    front.put(b"one", one)
    front.put(b"two", two)
    assert front.get_many([b"two", b"none", b"one", b"two"]) == [two, None, one, two]


def test_the_least_recently_used_entry_goes() -> None:
    front = FrontCache(room_for(2))
    front.put(b"a", stored())
    front.put(b"b", stored())
    front.get_many([b"a"])
    front.put(b"c", stored())
    assert front.get_many([b"a", b"b", b"c"]) == [stored(), None, stored()]


def test_an_entry_over_the_whole_size_evicts_nothing() -> None:
    front = FrontCache(room_for(1))
    front.put(b"a", stored())
    front.put(b"huge", stored(5))
    assert front.get_many([b"a", b"huge"]) == [stored(), None]


def test_zero_bytes_keep_nothing() -> None:
    front = FrontCache(0)
    front.put(b"a", stored(0))
    assert len(front) == front.bytes_used == 0


def test_putting_again_counts_once() -> None:
    front = FrontCache(room_for(2))
    front.put(b"a", stored())
    front.put(b"a", stored())
    assert (len(front), front.bytes_used) == (1, room_for(1))


operations = st.lists(
    st.tuples(st.sampled_from("pg"), st.sampled_from([b"a", b"b", b"c", b"d"])), max_size=40
)


@given(operations, st.integers(0, room_for(4)))
def test_it_behaves_as_a_plain_lru_model(steps: list[tuple[str, bytes]], limit: int) -> None:
    front = FrontCache(limit)
    model: OrderedDict[bytes, StoredCode] = OrderedDict()
    for step, digest in steps:
        if step == "g":
            assert front.get_many([digest]) == [model.get(digest)]
            if digest in model:
                model.move_to_end(digest)
            continue
        front.put(digest, stored(digest[0]))  # a width of its own for each digest
        if digest not in model and ENTRY_OVERHEAD + digest[0] <= limit:
            model[digest] = stored(digest[0])
            while sum(ENTRY_OVERHEAD + len(one.code) for one in model.values()) > limit:
                model.popitem(last=False)
        used = sum(ENTRY_OVERHEAD + len(one.code) for one in model.values())
        assert (front.bytes_used, len(front)) == (used, len(model))
        assert front.bytes_used <= limit
