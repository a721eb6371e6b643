"""Figures as SVG: the same numbers give the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def svg_pyplot() -> Any:
    """`matplotlib.pyplot`, drawing SVG without random names."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "polyhead"
    from matplotlib import pyplot

    return pyplot


def save_svg(figure: Any, path: Path) -> None:
    """Write a figure, without the date, and let go of it."""
    figure.savefig(path, metadata={"Date": None})
    svg_pyplot().close(figure)
