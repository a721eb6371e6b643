"""bulk.rows: which rows can be asked about, whatever a column holds."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ApiError
from app.tasks.lookup import Limits, check_texts
from bulk.rows import texts_of, values_of

LIMITS = Limits(1, 40)


@given(st.lists(st.none() | st.binary(max_size=50) | st.text(max_size=50).map(str.encode)))
def test_every_row_is_a_text_or_a_fault(values: list[bytes | None]) -> None:
    texts = texts_of(values, LIMITS)
    assert sorted([*texts.places, *texts.faults]) == list(range(len(values)))
    assert texts.places == sorted(texts.places)
    for place, text in zip(texts.places, texts.good, strict=True):
        assert text.encode() == values[place]
        check_texts([text], LIMITS)  # the service would take it
    for place in texts.faults:
        value = values[place]
        with pytest.raises((ApiError, UnicodeDecodeError)):
            check_texts([value.decode() if value is not None else ""], LIMITS)


def test_what_the_faults_say() -> None:
    texts = texts_of([None, b"", b" \n", b"\xff", b"x" * 41, b"fine"], LIMITS)
    assert list(texts.faults.values()) == [
        "there is no text",
        "the text is empty",
        "the text is empty",
        "the text is not UTF-8",
        "the text is over 40 bytes",
    ]
    assert texts.good == ["fine"]


KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.dictionary(pa.int32(), pa.string()),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_column_of_any_kind_of_text(kind: Any) -> None:
    values = ["a", None, "ß", "a"]
    column = pa.chunked_array([pa.array(values[:2]).cast(kind), pa.array(values[2:]).cast(kind)])
    assert values_of(column) == [b"a", None, "ß".encode(), b"a"]


def test_a_column_of_nulls() -> None:
    assert values_of(pa.chunked_array([pa.nulls(3)])) == [None] * 3


def test_strings_that_are_not_utf8_cost_their_own_rows_alone() -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"too"])
    column = pa.chunked_array([pa.StringArray.from_buffers(3, *raw.buffers()[1:])])
    texts = texts_of(values_of(column), LIMITS)
    assert (texts.good, list(texts.faults)) == (["good", "too"], [1])
