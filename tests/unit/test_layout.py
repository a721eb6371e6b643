"""models.openvino.layout against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.openvino.layout import lay_out

texts = st.lists(
    st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=20), min_size=1, max_size=9
)


@given(texts, st.integers(0, 30), st.sampled_from([1, 16]))
def test_every_token_is_in_line_and_in_its_row(
    rows: list[list[int]], spare: int, multiple: int
) -> None:
    width = max(map(len, rows)) + spare
    layout = lay_out([np.array(row, dtype=np.int32) for row in rows], width, 0, multiple)
    assert all(array.dtype == np.int32 for array in layout.inputs().values())
    assert layout.slots.shape == layout.mask.shape == (len(rows), width)
    line = [token for row in rows for token in row]
    assert len(layout.ids) % multiple == 0
    assert len(line) <= len(layout.ids) < len(line) + multiple
    assert layout.ids.tolist() == line + [0] * (len(layout.ids) - len(line))
    at = 0
    for number, row in enumerate(rows):
        assert layout.mask[number].tolist() == [1] * len(row) + [0] * (width - len(row))
        for place, token in enumerate(row):
            assert layout.ids[layout.slots[number, place]] == token
            assert layout.slots[number, place] == at
            assert layout.places[at] == place
            assert layout.back[at] == number * width + place
            at += 1


@given(texts)
def test_what_is_past_the_end_points_somewhere_that_is_there(rows: list[list[int]]) -> None:
    width = max(map(len, rows)) + 3
    layout = lay_out([np.array(row, dtype=np.int32) for row in rows], width, pad_id=0)
    assert 0 <= layout.slots.min() <= layout.slots.max() < len(layout.ids)
    assert 0 <= layout.back.min() <= layout.back.max() < layout.mask.size
    assert 0 <= layout.places.min() <= layout.places.max() < width


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="row 1 has 5 tokens, the batch 4"):
        lay_out([np.arange(3, dtype=np.int32), np.arange(5, dtype=np.int32)], 4, 0)
