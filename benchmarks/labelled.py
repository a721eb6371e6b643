"""Labelled rows for the benchmarks of heads: drawn, since many files lie class by class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.datasets import Split, read_meta, read_split

# Topics, intents, sentiments, questions, emotions, subjectivity; 2 to 77 labels.
TASKS = (
    "ag_news",
    "banking77",
    "cr",
    "snips",
    "sst2",
    "subj",
    "trec6",
    "tweeteval_emotion",
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and class indexes."""

    texts: list[str]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Some rows."""
        return Rows([self.texts[place] for place in places.tolist()], self.targets[places])


def labels_of(data: Path, task: str) -> list[str]:
    """A task's label names, which targets index."""
    names: list[str] = read_meta(data, task)["label_names"]
    return names


def drawn(data: Path, task: str, split: Split, count: int, seed: int = 0) -> Rows:
    """At most `count` rows of a split, in random order."""
    index = {label: number for number, label in enumerate(labels_of(data, task))}
    found = read_split(data, task, split)
    targets = np.array([index[label] for label in found.labels], dtype=np.int64)
    places = np.random.default_rng(seed).permutation(len(targets))[:count]
    return Rows(found.texts, targets).take(places)


def drawn_by_label(data: Path, task: str, split: Split, count: int, seed: int = 0) -> Rows:
    """At most `count` rows of each label, in the order in which smaller counts take the first."""
    every = drawn(data, task, split, 10**9, seed)
    places = np.arange(len(every))
    # The place of each row among those of its label, by order of drawing.
    rank = np.zeros(len(every), dtype=np.int64)
    for label in np.unique(every.targets):
        of_label = places[every.targets == label]
        rank[of_label] = np.arange(len(of_label))
    kept = rank < count
    return every.take(places[kept][np.argsort(rank[kept], kind="stable")])


def first_by_label(rows: Rows, count: int) -> NDArray[np.int64]:
    """Places of the first `count` rows of each label."""
    return np.concatenate(
        [np.flatnonzero(rows.targets == label)[:count] for label in np.unique(rows.targets)]
    )
