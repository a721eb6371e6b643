"""`polyhead predict` and `polyhead encode`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, TypeVar

import typer

from .._each import Bad, answer_each
from .._types import Code, Predictions, Result
from ._connect import Tasks, connect, names_of
from ._output import Format, Printer, Style, note, short
from ._texts import BATCH, batches

R = TypeVar("R")
Texts = Annotated[
    list[str] | None, typer.Argument(help="Texts; none: lines of stdin.", show_default=False)
]
JsonField = Annotated[
    str | None, typer.Option(help="stdin holds JSON lines, with the text in this field.")
]
Truncate = Annotated[
    bool, typer.Option("--truncate/--no-truncate", help="Cut texts over the limit of tokens.")
]


def predict(
    context: typer.Context,
    texts: Texts = None,
    tasks: Tasks = None,
    scores: Annotated[bool, typer.Option(help="Every label's probability too.")] = False,
    truncate: Truncate = True,
    json_field: JsonField = None,
    style: Format = Style.AUTO,
) -> int:
    """Ask tasks about texts: one answer an input, in order, bad inputs with their error."""
    names = names_of(tasks)
    printer = Printer(style)
    with connect(context) as client:

        def ask(some: list[str]) -> Predictions:
            answers = client.predict(some, names, scores=scores, truncate=truncate)
            for skipped in answers.skipped:
                if skipped.task not in told:
                    told.add(skipped.task)
                    note(f"{skipped.task} does not answer: {skipped.reason}")
            return answers

        told: set[str] = set()
        return answer_all(
            ask,
            batches(texts, json_field),
            printer,
            ["text", *names] if names else ["text", "answers"],
            lambda result: {
                "key": result.key,
                "cached": result.cached,
                **({"truncated": True} if result.truncated else {}),
                "predictions": result.predictions,
            },
            lambda result: _answers(result, names),
        )


def _answers(result: Result, names: Sequence[str] | None) -> list[str]:
    """One cell a task that was named; all in one cell when all were asked."""
    if names:
        return [short(result[name]) for name in names]
    return ["\n".join(f"{name}: {short(one)}" for name, one in result.predictions.items())]


def encode(
    context: typer.Context,
    texts: Texts = None,
    json_field: JsonField = None,
    style: Format = Style.AUTO,
) -> int:
    """Turn texts into binary codes, packed in base64, most significant bit first."""

    def record(code: Code) -> dict[str, object]:
        return {
            "key": code.key,
            "code": base64.b64encode(code.code).decode(),
            "cached": code.cached,
            **({"truncated": True} if code.truncated else {}),
            "tokens": code.tokens,
        }

    with connect(context) as client:
        return answer_all(
            client.encode,
            batches(texts, json_field),
            Printer(style),
            ["text", "key", "tokens", "code"],
            record,
            lambda code: [code.key, str(code.tokens), code.code[:8].hex() + "…"],
        )


def answer_all(
    ask: Callable[[list[str]], Sequence[R]],
    found: Iterable[list[object]],
    printer: Printer,
    heads: Sequence[str],
    record: Callable[[R], dict[str, object]],
    cells: Callable[[R], list[str]],
) -> int:
    """Ask batch by batch and print; 1 if some input had no answer."""
    index, bad = 0, 0
    for batch in found:
        lost = {n: text for n, text in enumerate(batch) if isinstance(text, Bad)}
        answers = answer_each(ask, [None if n in lost else t for n, t in enumerate(batch)], BATCH)
        records, rows = [], []
        for n, (text, answer) in enumerate(zip(batch, answers, strict=True)):
            answer = lost.get(n, answer)
            said = text if isinstance(text, str) else None
            start: dict[str, object] = {"index": index, "text": said}
            if isinstance(answer, Bad):
                bad += 1
                records.append({**start, "error": answer.reason})
                rows.append([said or "", f"error: {answer.reason}"] + [""] * (len(heads) - 2))
            else:
                records.append({**start, **record(answer)})
                rows.append([said or "", *cells(answer)])
            index += 1
        printer.show(records, heads, rows)
    if bad:
        note(f"{bad} of {index} inputs had no answer")
    return 1 if bad else 0
