"""How the texts of a batch lie in a pass of the OpenVINO graph. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.packing import PACKED_MULTIPLE, round_up
from models.tokens import Ids


@dataclass(frozen=True, slots=True)
class Layout:
    """Texts end to end, and where each token is in rows of one text each. All int32.

    Attributes:
        ids: `(m,)` token ids, one text after the other; m is a multiple of 16 in service, to spare
            OpenVINO from making kernels for every number there is.
        places: `(m,)` position of each token in its text.
        slots: `(b, w)` index into `ids` of each place in a text's row; 0 past its end.
        mask: `(b, w)` 1 where a row has a token.
        back: `(m,)` index into the rows, laid end to end, of each token.
    """

    ids: Ids
    places: NDArray[np.int32]
    slots: NDArray[np.int32]
    mask: NDArray[np.int32]
    back: NDArray[np.int32]

    def inputs(self) -> dict[str, NDArray[np.int32]]:
        """By the names of the graph's inputs."""
        return {name: getattr(self, name) for name in self.__slots__}


def lay_out(
    rows: Sequence[Ids], width: int, pad_id: int, multiple: int = PACKED_MULTIPLE
) -> Layout:
    """Lay texts out.

    Args:
        rows: at least one text, each of at least one token.
        width: w, of the rows.
        pad_id: the token at the end, where m is more than there are tokens.
        multiple: of which m is one.

    Raises:
        ValueError: a text is longer than `width`.
    """
    lengths = np.array([len(row) for row in rows])
    if lengths.max() > width:
        longest = int(lengths.argmax())
        raise ValueError(f"row {longest} has {lengths[longest]} tokens, the batch {width}")
    total = int(lengths.sum())
    padded = round_up(total, multiple)
    starts = np.cumsum(lengths) - lengths
    columns = np.arange(width)
    mask = columns < lengths[:, None]
    ids = np.full(padded, pad_id, dtype=np.int32)
    np.concatenate(rows, out=ids[:total])
    places = np.zeros(padded, dtype=np.int32)
    places[:total] = np.arange(total) - np.repeat(starts, lengths)
    back = np.zeros(padded, dtype=np.int32)
    back[:total] = np.flatnonzero(mask)
    slots = np.where(mask, starts[:, None] + columns, 0).astype(np.int32)
    return Layout(ids, places, slots, mask.astype(np.int32), back)
