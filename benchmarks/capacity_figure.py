"""The figure of docs/capacity.md: predicted beside measured, of a run of `capacity_check`.

python -m benchmarks.capacity_figure docs/results/capacity.json docs/images/capacity.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import save_svg, svg_pyplot

PANELS = {
    "hit_ratio": "share found",
    "answered_a_s": "texts answered a second",
    "service_cpu_s": "processor seconds of the service",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
}


def main() -> None:
    rounds = json.loads(Path(sys.argv[1]).read_text())["rounds"]
    write_figure([one for one in rounds if "measured" in one], Path(sys.argv[2]))


def write_figure(rounds: list[dict[str, Any]], path: Path) -> None:
    """A panel a figure, a mark a phase, a shade a round; on the line all would be right."""
    pyplot = svg_pyplot()

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(16, 3.6), layout="constrained")
    phases = [name for name in rounds[0]["predicted"] if name != "redis"]
    for panel, (key, title) in zip(panels, PANELS.items(), strict=True):
        seen = []
        for number, one in enumerate(rounds):
            for phase, marker in zip(phases, "os^D", strict=True):
                predicted = one["predicted"][phase].get(key)
                if predicted is None:
                    continue
                measured = one["measured"][phase][key]
                seen += [predicted, measured]
                label = phase if number == 0 else None
                panel.plot(measured, predicted, marker, color=f"C{number}", label=label)
        scale = "linear" if key == "hit_ratio" else "log"
        panel.plot([min(seen), max(seen)], [min(seen), max(seen)], color="grey", linewidth=0.8)
        panel.set(title=title, xlabel="measured", ylabel="predicted", xscale=scale, yscale=scale)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=7)
    save_svg(figure, path)


if __name__ == "__main__":
    main()
