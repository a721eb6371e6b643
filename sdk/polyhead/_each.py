"""Answers for texts of which some may be bad: a bad one costs only its own answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ._errors import APIError
from ._inputs import check_text, split_inputs

R = TypeVar("R")
PLACE = re.compile(r"inputs?\[(\d+)\]")
OF_ONE_TEXT = (400, 413, 422)
"""Statuses that may be the fault of a single text."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Why a text has no answer."""

    reason: str


def fault_of(text: object) -> Bad | None:
    """What is wrong with a text, as far as this side can tell."""
    if text is None:
        return Bad("there is no text")
    try:
        checked = check_text(text, "the text")
    except (TypeError, ValueError) as error:
        return Bad(str(error))
    return Bad("the text is empty") if not checked or checked.isspace() else None


def answer_each(
    ask: Callable[[list[str]], Sequence[R]], texts: Sequence[object], max_batch: int
) -> list[R | Bad]:
    """Answers in the order of the texts, and reasons in the place of bad ones.

    Args:
        ask: Answers texts in one request; its `APIError`s may name one by its place.
        texts: Texts, or whatever stands in their place.
        max_batch: Texts in one request.

    Raises:
        PolyheadError: What is no fault of a single text.
    """
    results: list[R | Bad | None] = [fault_of(text) for text in texts]
    good = [place for place, fault in enumerate(results) if fault is None]
    start = 0
    for part in split_inputs([str(texts[place]) for place in good], max_batch):
        answers = _answer(ask, part)
        for place, answer in zip(good[start : start + len(part)], answers, strict=True):
            results[place] = answer
        start += len(part)
    return [result for result in results if result is not None]


def _answer(ask: Callable[[list[str]], Sequence[R]], texts: list[str]) -> list[R | Bad]:
    """One request, and more of them while the service names bad texts."""
    results: list[R | Bad | None] = [None] * len(texts)
    pending = list(range(len(texts)))
    while pending:
        try:
            answers = ask([texts[place] for place in pending])
        except APIError as error:
            if error.status not in OF_ONE_TEXT:
                raise
            found = PLACE.fullmatch(error.param or "")
            if found and int(found[1]) < len(pending):
                results[pending.pop(int(found[1]))] = Bad(PLACE.sub("the text", error.message))
            elif error.status == 413 and len(pending) > 1:  # together too large: half at a time
                middle = len(pending) // 2
                for half in (pending[:middle], pending[middle:]):
                    some = _answer(ask, [texts[place] for place in half])
                    for place, answer in zip(half, some, strict=True):
                        results[place] = answer
                pending = []
            elif error.status == 413:
                results[pending.pop()] = Bad(error.message)
            else:
                raise
        else:
            for place, answer in zip(pending, answers, strict=True):
                results[place] = answer
            pending = []
    return [result for result in results if result is not None]
