"""Packing: which texts share a forward pass. Pure arithmetic over lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]

# Multiples of 16: torch's CPU kernels give a row the same bits at any batch size then.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True, slots=True)
class BatchRule:
    """How an encoder wants its batches.

    Attributes:
        max_tokens: budget of a batch, padding included; one text always fits.
        overhead: what starting a batch costs, as tokens of work.
        workers: batches that run at the same time.
        buckets: the padded lengths there are, ascending, when a code may depend on its padded
            length (a text is then always padded to the same one); None when it does not, and
            texts of any lengths may share a batch.
    """

    max_tokens: int
    overhead: int = 1
    workers: int = 1
    buckets: tuple[int, ...] | None = None

    def padded(self, length: int) -> int:
        """The least length that a text of `length` tokens is padded to.

        Raises:
            ValueError: it is over the longest bucket.
        """
        if self.buckets is None:
            return max(1, length)
        for bucket in self.buckets:
            if bucket >= length:
                return bucket
        raise ValueError(f"{length} tokens are over the longest bucket, {self.buckets[-1]}")


def buckets_up_to(max_tokens: int, limit: int) -> tuple[int, ...]:
    """Buckets for texts of up to `max_tokens`, the last one a multiple of 16 or the `limit`."""
    shorter = tuple(bucket for bucket in BUCKETS if bucket < max_tokens)
    return (*shorter, min(limit, -(-max_tokens // 16) * 16))


def reach(padded: int, rule: BatchRule) -> int:
    """How far from a text of that padded length its batch can extend in either direction."""
    return max(1, rule.max_tokens // max(1, padded))


def best_window(padded: Lengths, real: Lengths, anchor: int, rule: BatchRule) -> tuple[int, int]:
    """The batch around one text: neighbours in length with the greatest share of useful work.

    Useful are the texts' own tokens; a batch costs them, its padding and the overhead of a pass.
    Many texts of about one length make a full batch with hardly any padding; few make a smaller
    one, or accept padding where another pass would cost more.

    Args:
        padded: `(n,)` padded lengths, ascending.
        real: `(n,)` own lengths in the same order.
        anchor: index of the text that must be in.
        rule: the encoder's.

    Returns:
        `(first, end)`: the batch is `first <= i < end`, all padded to `padded[end - 1]`.
    """
    if rule.buckets is not None:
        same = np.searchsorted(padded, padded[anchor], side="left")
        end = int(np.searchsorted(padded, padded[anchor], side="right"))
        room = reach(int(padded[anchor]), rule)
        first = max(int(same), min(anchor, end - room))
        return first, min(end, first + room)
    room = reach(int(padded[anchor]), rule)
    firsts = np.arange(anchor, max(-1, anchor - room), -1)
    lasts = np.arange(anchor, min(len(padded), anchor + room))
    sums = np.concatenate(([0], np.cumsum(real)))
    count = lasts[None, :] - firsts[:, None] + 1
    cost = count * padded[lasts][None, :]
    useful = sums[lasts + 1][None, :] - sums[firsts][:, None]
    share = useful / (cost + rule.overhead)
    share[(cost > rule.max_tokens) & (count > 1)] = -1.0
    row, column = np.unravel_index(int(np.argmax(share)), share.shape)
    return int(firsts[row]), int(lasts[column]) + 1


def partition(lengths: Sequence[int], rule: BatchRule) -> Iterator[tuple[list[int], int]]:
    """All texts in batches, longest first: `(indexes, padded length)` of each batch.

    Longest first, so that what remains for the last worker to finish is small.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    real = np.array([lengths[index] for index in order], dtype=np.int64)
    padded = np.array([rule.padded(int(length)) for length in real], dtype=np.int64)
    end = len(order)
    while end:
        start = max(0, end - 2 * reach(int(padded[end - 1]), rule))
        first, _ = best_window(padded[start:end], real[start:end], end - 1 - start, rule)
        yield order[start + first : end], int(padded[end - 1])
        end = start + first
