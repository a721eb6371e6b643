"""Running averages of a network's weights: they often do better on what was not trained on.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018),
with exponential weights as in Polyak's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averages:
    """Of all weights that are trained, and of the statistics beside them.

    Args:
        network: whose weights; it must stay where it is.
        share: of an average that one step leaves; its memory is about `1 / (1 - share)` steps.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        trained = [one for one in network.parameters() if one.requires_grad]
        statistics = [one for one in network.state_dict().values() if one.is_floating_point()]
        places = {one.data_ptr(): one.detach() for one in [*trained, *statistics]}
        frozen = {one.data_ptr() for one in network.parameters() if not one.requires_grad}
        self._live = [one for place, one in places.items() if place not in frozen]
        self._averages = [one.clone() for one in self._live]
        self._share, self._steps = share, 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self._steps += 1
        # At first the mean of all steps: the start is not to be remembered.
        share = min(self._share, 1 - 1 / self._steps)
        torch._foreach_lerp_(self._averages, self._live, 1 - share)

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """The network has the averages for its weights meanwhile."""
        kept = [one.clone() for one in self._live]
        self._copy(self._averages)
        try:
            yield
        finally:
            self._copy(kept)

    def state(self) -> tuple[int, list[Tensor]]:
        """What a later run goes on from."""
        return self._steps, self._averages

    def load(self, state: tuple[int, list[Tensor]]) -> None:
        """Go on from `state`."""
        self._steps = state[0]
        for average, saved in zip(self._averages, state[1], strict=True):
            average.copy_(saved)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for live, value in zip(self._live, values, strict=True):
            live.copy_(value)
