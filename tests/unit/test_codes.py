"""models.codes against numpy.packbits and loops over single bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.codes import (
    check_bits,
    hamming,
    pack_bits,
    stack_codes,
    unpack_bits,
    unpack_signs,
)

codes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
values = st.tuples(st.integers(0, 5), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(np.float32, (shape[0], shape[1] * 8))
)


def bit(code: bytes, place: int) -> int:
    """The reference: bit `place` of a code, most significant first."""
    return code[place // 8] >> (7 - place % 8) & 1


@given(values)
def test_pack_sets_the_bits_of_positive_values(floats: np.ndarray) -> None:
    packed = pack_bits(floats)
    assert packed.dtype == np.uint8
    assert np.array_equal(packed, np.packbits((floats > 0).astype(np.uint8), axis=1))
    for row, code in zip(floats, packed, strict=True):
        assert [bit(code.tobytes(), place) for place in range(len(row))] == [v > 0 for v in row]


def test_zero_negative_zero_and_nan_give_no_bit() -> None:
    floats = np.array([[0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1]], dtype=np.float32)
    assert pack_bits(floats).tolist() == [[0b00010101]]


@given(codes)
def test_unpack_is_the_inverse_of_pack(packed: np.ndarray) -> None:
    bits, signs = unpack_bits(packed), unpack_signs(packed)
    assert bits.dtype == signs.dtype == np.float32
    assert bits.tolist() == [
        [bit(code.tobytes(), place) for place in range(8 * len(code))] for code in packed
    ]
    assert np.array_equal(signs, 2 * bits - 1)
    assert np.array_equal(pack_bits(signs), packed)


@given(st.data(), st.integers(1, 6), st.integers(0, 6))
def test_hamming_counts_differing_bits(data: st.DataObject, width: int, rows: int) -> None:
    a = data.draw(hnp.arrays(np.uint8, (rows, width)))
    b = data.draw(hnp.arrays(np.uint8, data.draw(st.sampled_from([(rows, width), (1, width)]))))
    expected = [
        sum((int(x) ^ int(y)).bit_count() for x, y in zip(left, right, strict=True))
        for left, right in zip(a, np.broadcast_to(b, a.shape), strict=True)
    ]
    distances = hamming(a, b)
    assert distances.dtype == np.int64
    assert distances.tolist() == expected


def test_hamming_of_a_wide_code_does_not_wrap() -> None:
    zeros, ones = np.zeros((1, 200), np.uint8), np.full((1, 200), 255, np.uint8)
    assert hamming(zeros, ones).tolist() == [1600]


@given(st.integers(0, 8).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n))))
def test_stack_keeps_codes_and_order(rows: list[bytes]) -> None:
    stacked = stack_codes(rows)
    assert [row.tobytes() for row in stacked] == rows


def test_errors_name_the_sizes() -> None:
    with pytest.raises(ValueError, match="3 dimensions"):
        pack_bits(np.zeros((1, 2, 8)))
    with pytest.raises(ValueError, match="not 12"):
        pack_bits(np.zeros((1, 12)))
    with pytest.raises(ValueError, match="2 and 3 bytes"):
        hamming(np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="widths"):
        stack_codes([b"ab", b"abc", b"a"])


@pytest.mark.parametrize("bits", [0, -8, 7, 12])
def test_check_bits_refuses(bits: int) -> None:
    with pytest.raises(ValueError, match=str(bits)):
        check_bits(bits)


def test_check_bits_returns_the_width() -> None:
    assert check_bits(1536) == 1536
