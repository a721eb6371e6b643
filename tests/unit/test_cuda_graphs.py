"""models.cuda_graphs: which shapes are captured and chosen. The capturing itself is tests/gpu's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.cuda_graphs import LONGEST, ROWS, rows_for, shapes_to_capture
from models.packing import BUCKETS


def test_every_short_bucket_is_captured_within_the_budget() -> None:
    shapes = shapes_to_capture(BUCKETS, 32_768)
    assert {length for _, length in shapes} == {b for b in BUCKETS if b <= LONGEST}
    assert all(rows * length <= 32_768 for rows, length in shapes)
    assert (512, 64) in shapes
    assert (512, 96) not in shapes


def test_the_largest_goes_first() -> None:
    sizes = [rows * length for rows, length in shapes_to_capture((16, 64), 10_000)]
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 600), st.sets(st.sampled_from(ROWS)))
def test_the_smallest_graph_that_holds_the_batch(count: int, captured: set[int]) -> None:
    chosen = rows_for(count, sorted(captured))
    fitting = [rows for rows in captured if rows >= count]
    assert chosen == (min(fitting) if fitting else None)
