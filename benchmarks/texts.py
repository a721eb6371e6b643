"""Texts for encoder benchmarks: real ones where a data folder is given, else made of words."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from models.training.datasets import read_split

Kind = Literal["short", "mixed", "long"]
# Mean 24 tokens; posts, questions, reviews and headlines.
SHORT = (
    "goemotions",
    "banking77",
    "sst2",
    "tweeteval_irony",
    "clickbait",
    "stackoverflow_sentiment",
)
# From a line to a page: mean about 120 tokens, many at the limit.
MIXED = ("banking77", "ag_news", "ade", "goemotions", "csabstruct", "imdb")
LONG = ("imdb", "newsgroups20")
LONG_LETTERS = 3_000  # surely over 512 tokens


def texts_of(kind: Kind, count: int, data: Path | None) -> list[str]:
    """Distinct texts, in an order that mixes the tasks."""
    if data is None:
        return _made(kind, count)
    tasks = {"short": SHORT, "mixed": MIXED, "long": LONG}[kind]
    columns = [
        text
        for split in ("test", "train")
        for row in zip_longest(*(read_split(data, task, split).texts for task in tasks))
        for text in row
        if text is not None and (kind != "long" or len(text) > LONG_LETTERS)
    ]
    found = list(dict.fromkeys(columns))[:count]
    if len(found) < count:
        raise ValueError(f"{len(found)} {kind} texts in {data}, {count} are wanted")
    return found


def _made(kind: Kind, count: int) -> list[str]:
    words = "the of card a report in is new my quickly blue seven it was not music".split()  # noqa: SIM905
    random = np.random.default_rng(0)
    middle = {"short": 22, "mixed": 60, "long": 600}[kind]
    spread = {"short": 0.5, "mixed": 1.0, "long": 0.05}[kind]
    lengths = np.clip(random.lognormal(np.log(middle), spread, count), 1, 600).astype(int)
    return [f"{n} " + " ".join(random.choice(words, length)) for n, length in enumerate(lengths)]
