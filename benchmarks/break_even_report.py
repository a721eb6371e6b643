"""The table and the figure of benchmarks/break_even.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import save_svg, svg_pyplot
from models.training.encoder.cost import Costs, break_even

HIT_RATIOS = (0.0, 0.5, 0.9)
MOST_TASKS = 50
IN_TABLE = (1, 2, 3, 5, 7, 10, 20, 50)


@dataclass(frozen=True, slots=True)
class Pair:
    """An encoder beside one kind of student, and what they cost: microseconds a text."""

    encoder: str
    student: str
    costs: Costs


def table(pairs: Sequence[Pair], result: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """Markdown: the costs by number of tasks, and the break-even."""
    cores = f"{machine['cores']} cores of {machine['processor']}"
    lines = [
        f"Microseconds a text, {result['dtype']}, {result['threads']} threads on {cores}; medians "
        "of rounds in alternation.",
        "",
        "| encoder, hit ratio / student | " + " | ".join(map(str, IN_TABLE)) + " | cheaper from |",
        "| --- |" + " ---: |" * (len(IN_TABLE) + 1),
    ]
    for pair in pairs:
        for ratio in HIT_RATIOS:
            row = [f"{pair.costs.shared(tasks, ratio):.0f}" for tasks in IN_TABLE]
            found = break_even(pair.costs, ratio)
            name = f"{pair.encoder}, {ratio:.1f}"
            lines.append(f"| {name} | {' | '.join(row)} | {_tasks(found)} |")
        row = [f"{pair.costs.students(tasks):.0f}" for tasks in IN_TABLE]
        lines.append(f"| {pair.student} a task | {' | '.join(row)} | |")
    accuracies = result["mean_test_accuracy"]
    if accuracies:
        lines += ["", f"Mean test accuracy over {result['accuracy_tasks']} tasks: "]
        lines[-1] += ", ".join(f"{name} {value:.1f}" for name, value in accuracies.items()) + "."
    return "\n".join(lines) + "\n"


def _tasks(found: int | None) -> str:
    if found is None:
        return "never"
    return f"{found} task{'s' if found > 1 else ''}"


def write_figure(pairs: Sequence[Pair], accuracies: Mapping[str, float], path: Path) -> None:
    """Costs over the number of tasks, one panel an encoder."""
    pyplot = svg_pyplot()

    encoders = list(dict.fromkeys(pair.encoder for pair in pairs))
    figure, panels = pyplot.subplots(
        1, len(encoders), figsize=(5.2 * len(encoders), 4.2), squeeze=False, layout="constrained"
    )
    tasks = range(1, MOST_TASKS + 1)

    def label(name: str) -> str:
        return f"{name}, accuracy {accuracies[name]:.1f}" if name in accuracies else name

    for encoder, panel in zip(encoders, panels[0], strict=True):
        of_encoder = [pair for pair in pairs if pair.encoder == encoder]
        for number, pair in enumerate(of_encoder):
            costs = [pair.costs.students(count) for count in tasks]
            name = f"{label(pair.student)}, one a task"
            panel.plot(tasks, costs, color=f"C{number + 1}", linestyle="--", label=name)
            for ratio in HIT_RATIOS:
                crossing = break_even(pair.costs, ratio)
                if crossing is not None and crossing <= MOST_TASKS:
                    height = pair.costs.shared(crossing, ratio)
                    panel.plot(crossing, height, "o", color=f"C{number + 1}", markersize=4)
        for ratio, width in zip(HIT_RATIOS, (2.4, 1.6, 0.9), strict=True):
            costs = [of_encoder[0].costs.shared(count, ratio) for count in tasks]
            name = f"{label(encoder)}, hit ratio {ratio:g}"
            panel.plot(tasks, costs, color="C0", linewidth=width, label=name)
        panel.set(xlabel="tasks", ylabel="µs a text", yscale="log", xlim=(1, MOST_TASKS))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    save_svg(figure, path)
