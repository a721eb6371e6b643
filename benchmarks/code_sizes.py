"""Accuracy on unseen tasks against the size of a code: a table and a figure from kept results.

    python -m benchmarks.code_sizes RESULTS --out docs/code-sizes

RESULTS holds `sizes-f0.json`, `-f1` and `-f2` (models.training.encoder.quantizers: projections of
one trained encoder to so many bits) and `unseen-f0.json`, `-f1`, `-f2` (what they stand beside).
Means are over all tasks, each judged where it is unseen; of several seeds the mean, and how far
they lie apart. See runs/code_sizes.sh.

Source: Du et al. (2020), their table over code sizes.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import save_svg, svg_pyplot
from models.training.encoder.suite import FOLDS, split_fold

LEARNED = re.compile(r"(\d+) bits, ")
OWN = "own dimensions"
OWN_BITS = 1536
BASE = "frozen last layer, floats"
BASE_BYTES = 1536


@dataclass(frozen=True, slots=True)
class Size:
    """Mean accuracies in percent of one width of code.

    Attributes:
        bits: of the code.
        learned: by a projection; otherwise the encoder's own dimensions.
        accuracy: of the bits.
        apart: largest less smallest over seeds; 0 with one.
        floats: accuracy of what is cut into the bits, which takes 16 times the bytes in 16 bits.
    """

    bits: int
    learned: bool
    accuracy: float
    apart: float
    floats: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folds = range(len(FOLDS))
    sizes = sizes_of([_read(arguments.results / f"sizes-f{fold}.json") for fold in folds])
    tasks = [_read(arguments.results / f"unseen-f{fold}.json")["tasks"] for fold in folds]
    base = float(np.mean([by["all"][BASE] for fold in tasks for by in fold.values()]))
    text = table(sizes, base)
    arguments.out.with_suffix(".md").write_text(text)
    write_figure(sizes, base, arguments.out.with_suffix(".svg"))
    print(text)


def sizes_of(folds: Sequence[Mapping[str, Sequence[Mapping[str, float]]]]) -> list[Size]:
    """Means over all tasks from those of each fold's.

    Args:
        folds: by fold, the scores of every seed by name. A seed that a fold lacks counts in none.
    """
    weights = [len(split_fold(fold)[1]) for fold in range(len(folds))]
    sizes = []
    for name in folds[0]:
        found = LEARNED.match(name)
        if not (found or name == OWN):
            continue
        seeds = min(len(fold[name]) for fold in folds)
        scores = {
            form: np.average(
                [[score[form] for score in fold[name][:seeds]] for fold in folds],
                axis=0,
                weights=weights,
            )
            for form in ("bits", "floats")
        }
        sizes.append(
            Size(
                int(found[1]) if found else OWN_BITS,
                found is not None,
                float(scores["bits"].mean()),
                float(np.ptp(scores["bits"])),
                float(scores["floats"].mean()),
            )
        )
    return sorted(sizes, key=lambda size: (size.bits, size.learned))


def table(sizes: Sequence[Size], base: float) -> str:
    """Markdown."""
    lines = [
        "| code | bytes | bits | floats that are cut | bits over the last layer's floats |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for size in sizes:
        name = f"{size.bits} learned" if size.learned else f"{size.bits}, the encoder's own"
        apart = f" (seeds {size.apart:.1f} apart)" if size.apart else ""
        lines.append(
            f"| {name} | {size.bits // 8} | {size.accuracy:.2f}{apart} | {size.floats:.2f} "
            f"| {size.accuracy - base:+.2f} |"
        )
    lines.append(f"| untrained, last layer, floats | {BASE_BYTES} | | {base:.2f} | |")
    return "\n".join(lines) + "\n"


def write_figure(sizes: Sequence[Size], base: float, path: Path) -> None:
    """Accuracy over bytes."""
    pyplot = svg_pyplot()

    figure, panel = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    learned = [size for size in sizes if size.learned]
    own = [size for size in sizes if not size.learned]
    width = [size.bits // 8 for size in learned]
    panel.plot(width, [size.accuracy for size in learned], "o-", label="learned projection, bits")
    panel.plot(
        width,
        [size.floats for size in learned],
        "o--",
        color="C0",
        alpha=0.5,
        label="what they are cut from, floats (16 times the bytes)",
    )
    panel.plot(
        [size.bits // 8 for size in own],
        [size.accuracy for size in own],
        "D",
        color="C1",
        label="the encoder's own dimensions, bits",
    )
    panel.axhline(base, color="gray", linewidth=1, label="untrained, last layer, floats (1,536)")
    panel.set(xscale="log", xlabel="bytes a code", ylabel="mean accuracy on unseen tasks, percent")
    panel.set_xticks(width, [str(one) for one in width])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    save_svg(figure, path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    main()
