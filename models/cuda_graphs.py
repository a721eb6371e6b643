"""Forward passes captured as CUDA graphs, one a shape.

A small encoder's pass is some two hundred kernels of a few microseconds each: launching them takes
longer than running them. A graph is launched once. Shapes that were not captured run as usual.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.codes import hamming

logger = logging.getLogger(__name__)

ROWS = (8, 32, 128, 512)
# Longer passes are bound by arithmetic, not by launches.
LONGEST = 128
# Bits of the check batch that may differ from the uncaptured pass, as a share.
TOLERANCE = 0.002
Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    ids: Tensor
    mask: Tensor
    centred: Tensor
    codes: Tensor


def shapes_to_capture(lengths: Iterable[int], max_tokens: int) -> list[tuple[int, int]]:
    """`(rows, length)` of every graph, largest first, so that smaller ones reuse its memory."""
    shapes = [
        (rows, length)
        for length in lengths
        for rows in ROWS
        if length <= LONGEST and rows * length <= max_tokens
    ]
    return sorted(shapes, key=lambda shape: -shape[0] * shape[1])


def rows_for(count: int, captured: Sequence[int]) -> int | None:
    """The smallest captured number of rows that holds `count`, None when none does."""
    return min((rows for rows in captured if rows >= count), default=None)


class CudaGraphs:
    """Captured passes of one encoder.

    Args:
        run: ids and mask `(b, s)` int32 on the device to centred embeddings and codes. It may not
            wait for the device.
        device: a CUDA device.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run = run
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[int, dict[int, _Captured]] = {}

    def capture(self, shapes: Iterable[tuple[int, int]], pad_id: int) -> None:
        """Capture shapes; all are dropped when one fails or does not agree with a plain pass."""
        try:
            for rows, length in shapes:
                self._captured.setdefault(length, {})[rows] = self._capture(rows, length, pad_id)
        except RuntimeError as error:
            logger.warning("no CUDA graphs for this encoder: %s", error)
            self._captured.clear()
            torch.cuda.synchronize(self._device)
        if not self._agrees():
            logger.warning("CUDA graphs disagree with plain passes and are not used")
            self._captured.clear()

    def run(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor] | None:
        """Replay the graph that fits; None when none does.

        Args:
            ids: `(b, s)` int32 in pinned memory of the host.
            mask: likewise.

        Returns:
            Views of the graph's own outputs, `(b, bits)` and `(b, bits // 8)`: copy them before the
            next replay.
        """
        of_length = self._captured.get(ids.shape[1])
        if of_length is None:
            return None
        rows = rows_for(ids.shape[0], list(of_length))
        if rows is None:
            return None
        captured = of_length[rows]
        count = ids.shape[0]
        # What is left of the last batch in the other rows is encoded again, and not read.
        captured.ids[:count].copy_(ids, non_blocking=True)
        captured.mask[:count].copy_(mask, non_blocking=True)
        captured.graph.replay()
        return captured.centred[:count], captured.codes[:count]

    def _capture(self, rows: int, length: int, pad_id: int) -> _Captured:
        ids = torch.full((rows, length), pad_id, dtype=torch.int32, device=self._device)
        mask = torch.ones_like(ids)
        current, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):  # libraries choose kernels and workspaces here
            for _ in range(2):
                self._run(ids, mask)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            centred, codes = self._run(ids, mask)
        return _Captured(graph, ids, mask, centred, codes)

    def _agrees(self) -> bool:
        random = torch.Generator().manual_seed(0)
        for length, of_length in self._captured.items():
            count = min(of_length)
            ids = torch.randint(1, 500, (count, length), generator=random, dtype=torch.int32)
            mask = (torch.arange(length)[None] < 3 + torch.arange(count)[:, None]).int()
            replayed = self.run(ids.pin_memory(), mask.pin_memory())
            if replayed is None:
                return False
            codes = replayed[1].clone()
            plain = self._run(ids.to(self._device), mask.to(self._device))[1]
            flipped = hamming(codes.cpu().numpy(), plain.cpu().numpy()).sum()
            if flipped > TOLERANCE * codes.numel() * 8:
                return False
        return True
