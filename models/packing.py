"""Packing: which texts share a forward pass. Pure arithmetic over lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int64]

# Multiples of 16: torch's CPU kernels give a row the same bits at any batch size then.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)

# Of a packed batch's tokens and of the width of its rows: few shapes, and whole vectors of lanes.
PACKED_MULTIPLE = 16
# Texts of a packed batch: more gain nothing, and looking for the best of more takes longer.
PACKED_TEXTS = 64
# Where a batch has one padded length, it is chosen from so many times the texts that it holds.
BUCKET_CHOICE = 8


@dataclass(frozen=True, slots=True)
class BatchRule:
    """How an encoder wants its batches.

    One with `buckets` pads every text of a batch to the bucket of the longest, and texts of other
    buckets are not in it. One without lays texts of any lengths end to end; only their attention is
    padded, to the longest of them.

    Attributes:
        max_tokens: budget of a batch, padding included; one text always fits.
        overhead: what starting a batch costs, as tokens of work.
        workers: batches that run at the same time.
        buckets: the padded lengths there are, ascending; None for a packed batch.
        attention: of a packed batch, what a pair of places in a row costs, as tokens of work.
    """

    max_tokens: int
    overhead: int = 1
    workers: int = 1
    buckets: tuple[int, ...] | None = None
    attention: float = 0.0

    def padded(self, length: int) -> int:
        """Tokens that a text of `length` tokens takes of a batch's budget.

        Raises:
            ValueError: it is over the longest bucket.
        """
        return max(1, length) if self.buckets is None else self.width(length)

    def width(self, length: int) -> int:
        """Width of a row for texts of up to `length` tokens.

        Raises:
            ValueError: it is over the longest bucket.
        """
        if self.buckets is None:
            return round_up(length, PACKED_MULTIPLE)
        for bucket in self.buckets:
            if bucket >= length:
                return bucket
        raise ValueError(f"{length} tokens are over the longest bucket, {self.buckets[-1]}")

    def tokens(self, texts: int, real: int, longest: int) -> int:
        """Tokens of a batch, padding included, of `texts` texts with `real` tokens together."""
        if self.buckets is None:
            return round_up(real, PACKED_MULTIPLE)
        return texts * self.width(longest)


def round_up(number: int, multiple: int) -> int:
    """The next multiple, at least one."""
    return max(1, -(-number // multiple)) * multiple


def buckets_up_to(max_tokens: int, limit: int) -> tuple[int, ...]:
    """Buckets for texts of up to `max_tokens`, the last one a multiple of 16 or the `limit`."""
    shorter = tuple(bucket for bucket in BUCKETS if bucket < max_tokens)
    return (*shorter, min(limit, round_up(max_tokens, 16)))


def reach(padded: int, rule: BatchRule) -> int:
    """How far from a text of that padded length its batch can extend in either direction."""
    if rule.buckets is None:
        return min(PACKED_TEXTS, rule.max_tokens)
    return max(1, rule.max_tokens // max(1, padded))


def candidates(padded: int, rule: BatchRule) -> int:
    """How many texts, those whose turn comes next, a batch around a text is chosen from.

    Enough to fill it well; and no text is overtaken by more than these.
    """
    if rule.buckets is None:
        return PACKED_TEXTS
    return BUCKET_CHOICE * reach(padded, rule)


def best_window(padded: Lengths, anchor: int, rule: BatchRule) -> tuple[int, int]:
    """The batch around one text: neighbours in length with the greatest share of useful work.

    Useful are the texts' own tokens; a packed batch costs them, what rounds them up, the attention
    of its widest text for all of them, and the overhead of a pass. So many texts of about one
    length make a full batch, and few accept longer and shorter ones.

    Args:
        padded: `(n,)` padded lengths, ascending.
        anchor: index of the text that must be in.
        rule: the encoder's.

    Returns:
        `(first, end)`: the batch is `first <= i < end`.
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
    sums = np.concatenate(([0], np.cumsum(padded)))
    count = lasts[None, :] - firsts[:, None] + 1
    useful = sums[lasts + 1][None, :] - sums[firsts][:, None]
    tokens = -(-useful // PACKED_MULTIPLE) * PACKED_MULTIPLE
    width = -(-padded[lasts] // PACKED_MULTIPLE) * PACKED_MULTIPLE
    pairs = count * (width * width)[None, :]
    share = useful / (tokens + rule.attention * pairs + rule.overhead)
    too_much = (tokens > rule.max_tokens) | (count > PACKED_TEXTS)
    share[too_much & (count > 1)] = -1.0
    row, column = np.unravel_index(int(np.argmax(share)), share.shape)
    return int(firsts[row]), int(lasts[column]) + 1


def partition(lengths: Sequence[int], rule: BatchRule) -> Iterator[tuple[list[int], int]]:
    """All texts in batches, longest first: `(indexes, width)` of each batch.

    Longest first, so that what remains for the last worker to finish is small.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    padded = np.array([rule.padded(lengths[index]) for index in order], dtype=np.int64)
    end = len(order)
    while end:
        start = max(0, end - 2 * reach(int(padded[end - 1]), rule))
        first, _ = best_window(padded[start:end], end - 1 - start, rule)
        yield order[start + first : end], rule.width(int(padded[end - 1]))
        end = start + first
