"""Checking and splitting texts, alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyhead import _inputs, split_inputs

texts = st.lists(st.text(max_size=12), max_size=60)


def size(text: str) -> int:
    return len(text.encode())


@given(texts, st.integers(1, 9), st.integers(0, 30))
def test_split_keeps_everything_in_order_and_in_bounds(items, max_items, max_bytes):
    parts = split_inputs(items, max_items, max_bytes)
    assert [text for part in parts for text in part] == items
    for part in parts:
        assert 1 <= len(part) <= max_items
        assert sum(map(size, part)) <= max_bytes or len(part) == 1


@given(texts, st.integers(1, 9), st.integers(0, 30))
def test_split_is_greedy(items, max_items, max_bytes):
    parts = split_inputs(items, max_items, max_bytes)
    for part, following in pairwise(parts):
        room = max_bytes - sum(map(size, part))
        assert len(part) == max_items or size(following[0]) > room


def test_split_counts_bytes_not_characters():
    assert split_inputs(["éé", "éé"], 10, 7) == [["éé"], ["éé"]]
    assert split_inputs(["éé", "éé"], 10, 8) == [["éé", "éé"]]


def test_a_long_text_goes_alone():
    assert split_inputs(["a", "b" * 100, "c"], 10, 10) == [["a"], ["b" * 100], ["c"]]


def test_split_of_nothing_and_of_nonsense():
    assert split_inputs([], 4) == []
    with pytest.raises(ValueError, match="max_items must be at least 1, not 0"):
        split_inputs(["a"], 0)


def test_the_default_bound_is_about_4_mb():
    parts = split_inputs(["x" * 1_000_000] * 9, 256)
    assert [len(part) for part in parts] == [4, 4, 1]


@given(st.text(alphabet=st.characters(codec=None, categories=None, min_codepoint=0xD700)))
def test_only_lone_surrogates_are_refused(text):
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        with pytest.raises(ValueError, match=r"inputs\[1\] holds a lone surrogate, U\+D") as caught:
            _inputs.check_inputs(["fine", text])
        assert type(caught.value) is ValueError
    else:
        assert _inputs.check_inputs(["fine", text]) == ["fine", text]


def test_one_text_is_one_input():
    assert _inputs.check_inputs("hello") == ["hello"]
    with pytest.raises(ValueError, match="inputs holds a lone surrogate, U\\+D800 at character 2"):
        _inputs.check_inputs("ab\ud800")


@pytest.mark.parametrize("value", [[], (), iter([])])
def test_empty_inputs_are_named(value):
    with pytest.raises(ValueError, match="inputs must not be empty"):
        _inputs.check_inputs(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "inputs must be a sequence of str, not int"),
        (b"ab", "inputs must be a sequence of str, not bytes"),
        (["a", None], r"inputs\[1\] must be a str, not NoneType"),
        ([b"a"], r"inputs\[0\] must be a str, not bytes"),
    ],
)
def test_wrong_types_are_named(value, message):
    with pytest.raises(TypeError, match=message):
        _inputs.check_inputs(value)


def test_a_string_is_no_list_of_names():
    with pytest.raises(TypeError, match="tasks must be a sequence of str, not str"):
        _inputs.check_list("sentiment", "tasks")


def test_any_iterable_will_do():
    assert _inputs.check_inputs(f"{i}" for i in range(3)) == ["0", "1", "2"]
