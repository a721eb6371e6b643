"""`polyhead drift`."""

from __future__ import annotations

from typing import Annotated

import typer

from .._drift_types import Drift
from ._connect import connect
from ._output import Format, Printer, Style, figure


def drift(
    context: typer.Context,
    task: Annotated[str | None, typer.Argument(help="Its name; else all.")] = None,
    style: Format = Style.AUTO,
) -> None:
    """Whether live texts are like those that the heads were trained on.

    Over 1 they are not. Of several api processes, the one that answers tells its own texts.
    """
    with connect(context) as client:
        found = client.tasks.drifts() if task is None else [client.tasks.drift(task)]
    heads = ["task", "drift", "distance", "texts", "trained on", "live texts"]
    Printer(style).show(found, heads, (_row(one) for one in found))


def _row(one: Drift) -> list[object]:
    says = one.reason or ("shifted" if one.shifted else "like the training rows")
    rows = "-" if one.training_rows is None else one.training_rows
    return [one.task, figure(one.drift), figure(one.distance), one.texts, rows, says]
