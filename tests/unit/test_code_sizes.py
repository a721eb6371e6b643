"""The table of code sizes: weighted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.code_sizes import Size, sizes_of, table, write_figure


def scores(*bits: float) -> list[dict[str, float]]:
    return [{"bits": one, "floats": one + 1} for one in bits]


def test_folds_count_by_their_tasks() -> None:
    """13, 13 and 16 tasks; two seeds where every fold has them."""
    name = "128 bits, clipped, noise 0.1, keep 1"
    folds = [
        {"own dimensions": scores(10), "rotated": scores(99), name: scores(50, 51)},
        {"own dimensions": scores(20), "rotated": scores(99), name: scores(60, 63)},
        {"own dimensions": scores(40), "rotated": scores(99), name: scores(70, 70, 0)},
    ]
    learned, own = sizes_of(folds)
    assert own.accuracy == pytest.approx((13 * 10 + 13 * 20 + 16 * 40) / 42)
    assert (own.bits, own.learned, own.apart) == (1536, False, 0.0)
    first = (13 * 50 + 13 * 60 + 16 * 70) / 42
    second = (13 * 51 + 13 * 63 + 16 * 70) / 42
    assert learned.accuracy == pytest.approx((first + second) / 2)
    assert learned.apart == pytest.approx(second - first)
    assert learned.floats == pytest.approx(learned.accuracy + 1)
    assert learned.bits == 128


def test_a_table_and_a_figure(tmp_path: Path) -> None:
    sizes = [Size(128, True, 60.0, 0.3, 64.0), Size(1536, False, 75.5, 0.0, 76.5)]
    text = table(sizes, 73.0)
    assert "| 128 learned | 16 | 60.00 (seeds 0.3 apart) | 64.00 | -13.00 |" in text
    assert "| 1536, the encoder's own | 192 | 75.50 | 76.50 | +2.50 |" in text
    for name in ("one", "two"):
        write_figure(sizes, 73.0, tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
