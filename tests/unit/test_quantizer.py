"""models.quantizer against numpy.packbits and a loop over single values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.codes import pack_bits
from models.quantizer import SignQuantizer

floats = st.floats(-4, 4, width=32)


@given(st.integers(1, 3), st.integers(1, 4), st.data())
def test_codes_equal_the_naive_loop(width: int, rows: int, data: st.DataObject) -> None:
    thresholds = data.draw(hnp.arrays(np.float32, width * 8, elements=floats))
    embeddings = data.draw(hnp.arrays(np.float32, (rows, width * 8), elements=floats))
    quantizer = SignQuantizer(torch.from_numpy(thresholds))
    centred = quantizer.centre(torch.from_numpy(embeddings))
    codes = quantizer.pack(centred)
    assert codes.dtype == torch.uint8
    expected = []
    for row in embeddings:
        bits = ["01"[int(value > limit)] for value, limit in zip(row, thresholds, strict=True)]
        chunks = [bits[start : start + 8] for start in range(0, len(bits), 8)]
        expected.append([int("".join(chunk), 2) for chunk in chunks])
    assert codes.tolist() == expected
    # The serving side's packing agrees.
    assert np.array_equal(codes.numpy(), pack_bits(centred.numpy()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_special_values_pack_as_numpy_does(dtype: torch.dtype) -> None:
    values = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1.0, -1.0, 1e-3]
    quantizer = SignQuantizer(torch.zeros(8))
    assert quantizer.pack(torch.tensor([values], dtype=dtype)).tolist() == [[0b00010101]]


def test_half_thresholds_are_kept_in_float32() -> None:
    quantizer = SignQuantizer(torch.full((8,), 0.5, dtype=torch.float16))
    assert quantizer.thresholds.dtype == torch.float32
    assert quantizer.bits == 8


def test_errors_name_the_sizes() -> None:
    with pytest.raises(ValueError, match="not 12"):
        SignQuantizer(torch.zeros(12))
    with pytest.raises(ValueError, match="16 wide, the code 8"):
        SignQuantizer(torch.zeros(8)).centre(torch.zeros(1, 16))
