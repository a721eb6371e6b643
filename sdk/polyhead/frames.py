"""A column of texts in, columns of answers out, in pandas or polars.

from polyhead.frames import predict_column

answers = predict_column(client, frame["text"], ["sentiment", "abuse"])
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from ._client import Client
from ._columns import Cell, cells_of, columns_of, error_column
from ._each import Bad, answer_each
from ._text_columns import library_of, values_of

REQUEST = 256
"""Texts in one request."""


def predict_column(
    client: Client,
    column: Any,
    tasks: Sequence[str],
    *,
    prefix: str = "",
    truncate: bool = True,
    concurrency: int = 4,
) -> Any:
    """Ask tasks about a column of texts.

    Args:
        client: Of the service.
        column: A pandas or polars series of texts, or a frame of one column, of n rows.
        tasks: Names of the tasks.
        prefix: Stands before the names of the columns.
        truncate: Cut texts over the encoder's limit of tokens; False gives them an error.
        concurrency: Requests in flight at once.

    Returns:
        A frame of the same library with n rows, and with the index of a pandas series: `TASK` and
        `TASK_score` (the label's probability, 0 to 1) for a single label task, `TASK` (a list of
        labels, or a number) for the others, and `error`, which says why a row has no answer: a
        missing or blank text, or one that the service refuses. Else it is null.

    Raises:
        TypeError: The column is neither pandas' nor polars'.
        ValueError: No task is named, or two columns would have the same name.
        NotFound: A task is unknown.
        PolyheadError: See the error tree.
    """
    library = library_of(column)
    if library not in ("pandas", "polars"):
        raise TypeError(f"column must be pandas' or polars', not {type(column).__name__}")
    if isinstance(tasks, str) or not tasks:
        raise ValueError("tasks must name one task or several, in a list")
    texts = values_of(column, "column")
    kinds = {name: client.tasks.get(name).kind for name in tasks}
    columns = columns_of(kinds, prefix)

    def ask(some: Sequence[object]) -> list[Any]:
        return answer_each(
            lambda good: client.predict(good, list(kinds), truncate=truncate), some, REQUEST
        )

    parts = [texts[start : start + REQUEST] for start in range(0, len(texts), REQUEST)]
    with ThreadPoolExecutor(concurrency, thread_name_prefix="polyhead") as pool:
        answers = [answer for part in pool.map(ask, parts) for answer in part]
    rows = [cells_of(kinds, None if isinstance(one, Bad) else one.predictions) for one in answers]
    found: dict[str, tuple[str, list[Cell]]] = {
        one.name: (one.type, [row[place] for row in rows]) for place, one in enumerate(columns)
    }
    errors: list[Cell] = [one.reason if isinstance(one, Bad) else None for one in answers]
    found[error_column(prefix)] = ("string", errors)
    return _pandas(found, column) if library == "pandas" else _polars(found)


def _pandas(columns: dict[str, tuple[str, list[Cell]]], column: Any) -> Any:
    pandas = import_module("pandas")
    types = {"string": "string", "strings": "object", "number": "float64"}
    return pandas.DataFrame(
        {
            name: pandas.Series(values, index=column.index, dtype=types[type])
            for name, (type, values) in columns.items()
        },
        index=column.index,
    )


def _polars(columns: dict[str, tuple[str, list[Cell]]]) -> Any:
    polars = import_module("polars")
    text = polars.String
    types = {"string": text, "strings": polars.List(text), "number": polars.Float64}
    return polars.DataFrame(
        [polars.Series(name, values, types[type]) for name, (type, values) in columns.items()]
    )
