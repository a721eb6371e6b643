"""The nearest codes by Hamming distance, exactly. numpy, or faiss where it is installed.

faiss's kernel is about nine times as fast (docs/decisions/022-similar.md); the distances are the
same.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes

BLOCK = 2048  # codes compared at once: what is held between two steps stays in a core's cache


class Nearest(NamedTuple):
    """For each query its nearest codes, nearest first; of equal ones the order is not said.

    Attributes:
        distances: `(q, m)` int64, bits that differ.
        places: `(q, m)` int64, rows of the codes.
    """

    distances: NDArray[np.int64]
    places: NDArray[np.int64]


def nearest(queries: Codes, codes: Codes, count: int) -> Nearest:
    """The nearest codes of each query.

    Args:
        queries: `(q, bytes)` uint8.
        codes: `(n, bytes)` uint8.
        count: how many to find, at least 1; all of them where there are fewer.

    Raises:
        ValueError: the widths differ.
    """
    if queries.shape[1] != codes.shape[1]:
        raise ValueError(
            f"codes of {queries.shape[1]} and {codes.shape[1]} bytes cannot be compared"
        )
    count = min(count, len(codes))
    if not count or not len(queries):
        nothing = np.zeros((len(queries), count), dtype=np.int64)
        return Nearest(nothing, nothing)
    queries, codes = np.ascontiguousarray(queries), np.ascontiguousarray(codes)
    library = _faiss()
    if library is None:
        return nearest_by_numpy(queries, codes, count)
    library.omp_set_num_threads(1)  # of the calling thread: requests have other cores to use
    distances, places = library.knn_hamming(queries, codes, count)
    return Nearest(distances.astype(np.int64), places.astype(np.int64))


def nearest_by_numpy(queries: Codes, codes: Codes, count: int) -> Nearest:
    """`nearest` without faiss: `count` is at most the number of codes, and at least 1."""
    wide, narrow = _as_words(codes), _as_words(queries)
    distances = np.empty((len(queries), count), dtype=np.int64)
    places = np.empty((len(queries), count), dtype=np.int64)
    every = np.empty(len(codes), dtype=np.uint16 if codes.shape[1] < 8192 else np.uint32)
    for row, query in enumerate(narrow):
        for start in range(0, len(wide), BLOCK):
            differ = np.bitwise_count(wide[start : start + BLOCK] ^ query)
            differ.sum(axis=1, dtype=every.dtype, out=every[start : start + BLOCK])
        found = np.argpartition(every, count - 1)[:count]
        found = found[np.argsort(every[found], kind="stable")]
        places[row], distances[row] = found, every[found]
    return Nearest(distances, places)


def merge(parts: list[Nearest], starts: list[int], count: int) -> Nearest:
    """The nearest codes of several sets of codes together.

    Args:
        parts: of the same queries, one a set.
        starts: the number of the first code of each set.
        count: how many to keep.
    """
    distances = np.concatenate([part.distances for part in parts], axis=1)
    places = np.concatenate(
        [part.places + start for part, start in zip(parts, starts, strict=True)], axis=1
    )
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return Nearest(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(places, order, axis=1)
    )


def _as_words(codes: Codes) -> NDArray[Any]:
    """The same bytes, eight at a time where their number allows it."""
    return codes.view(np.uint64) if codes.shape[1] % 8 == 0 else codes


@cache
def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
