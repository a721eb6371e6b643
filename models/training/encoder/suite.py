"""Which tasks an encoder is trained on, and which it never sees: groups, folds, sampling.

Source: Du et al. (2020), section 4: an encoder trained over many tasks is judged on tasks outside
them. Related tasks are held out together, so that no fold trains on a task's twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.datasets import SPLITS, Split, read_meta, read_split

# By the question that is asked, across domains: tweets' sentiment goes with films'.
GROUPS: dict[str, tuple[str, ...]] = {
    "sentiment": (
        "cr",
        "financial_phrasebank",
        "imdb",
        "mpqa",
        "sst2",
        "sst5",
        "stackoverflow_sentiment",
        "tweeteval_sentiment",
        "yelp_sentences",
    ),
    "emotion": ("goemotions", "tweeteval_emoji", "tweeteval_emotion"),
    "abuse": ("davidson_hate", "tweeteval_hate", "tweeteval_offensive"),
    "tone": ("clickbait", "humour_short_texts", "sarcasm_headlines", "tweeteval_irony"),
    "question": ("trec50", "trec6"),
    "intent": ("atis", "banking77", "clinc150", "snips"),
    "science": ("acl_arc", "ade", "chemprot", "csabstruct"),
    "topic": ("ag_news", "dbpedia14", "disaster_tweets", "newsgroups20"),
    "grammar": ("blimp", "cola"),
    "veracity": ("covid_fake_news", "liar"),
    "stance": ("tweeteval_stance",),
    "subjectivity": ("subj",),
    "legal": ("unfair_tos",),
    "spam": ("sms_spam",),
    "language": ("language_id",),
}
# Every group is unseen in exactly one fold.
FOLDS: tuple[tuple[str, ...], ...] = (
    ("sentiment", "question", "spam", "language"),
    ("emotion", "abuse", "science", "grammar", "legal"),
    ("tone", "intent", "topic", "veracity", "stance", "subjectivity"),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and class indexes of one split."""

    texts: list[str]
    targets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TaskData:
    """One task, cut to a budget of rows.

    Attributes:
        name: folder of its data.
        labels: class names; targets index them.
        splits: rows by split.
    """

    name: str
    labels: tuple[str, ...]
    splits: dict[Split, Rows]


def tasks_of(groups: Sequence[str]) -> tuple[str, ...]:
    """The tasks of some groups.

    Raises:
        ValueError: a group is unknown.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise ValueError(f"unknown group {unknown[0]!r}; known: {', '.join(GROUPS)}")
    return tuple(task for group in groups for task in GROUPS[group])


def split_fold(fold: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks to train on and tasks to be judged by, which stay unseen; None: all tasks, for both."""
    everything = tasks_of(tuple(GROUPS))
    if fold is None:
        return everything, everything
    unseen = tasks_of(FOLDS[fold])
    return tuple(task for task in everything if task not in unseen), unseen


def load_task(root: Path, name: str, rows: dict[Split, int]) -> TaskData:
    """Some rows of each split that is asked for.

    The training files are shuffled: their first rows are taken. Many of the others lie class by
    class: of those a fixed random sample is taken.

    Args:
        root: folder of tasks.
        name: of the task.
        rows: how many at most, by split.
    """
    labels = tuple(read_meta(root, name)["label_names"])
    index = {label: number for number, label in enumerate(labels)}
    splits: dict[Split, Rows] = {}
    for split in SPLITS:
        if split in rows:
            whole = read_split(root, name, split)
            order = np.arange(len(whole.texts))
            if split != "train":
                order = np.random.default_rng(0).permutation(order)
            chosen = order[: rows[split]]
            targets = np.array([index[whole.labels[row]] for row in chosen], dtype=np.int64)
            splits[split] = Rows([whole.texts[row] for row in chosen], targets)
    return TaskData(name, labels, splits)


def tempered(sizes: Sequence[int], exponent: float) -> NDArray[np.float64]:
    """Sampling shares of tasks: proportional to size to the power of `exponent`.

    0 takes all tasks equally often, 1 all rows; between them small tasks are neither drowned nor
    repeated without end.

    Raises:
        ValueError: a size is not positive, or there is none.
    """
    if not sizes or min(sizes) <= 0:
        raise ValueError(f"tasks need rows to be sampled from, got sizes {list(sizes)}")
    weights = np.asarray(sizes, dtype=np.float64) ** exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def choose_shots(
    targets: NDArray[np.int64], per_class: int, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Row numbers of at most `per_class` rows of each class, shuffled."""
    chosen = [
        chance.permutation(np.flatnonzero(targets == label))[:per_class]
        for label in np.unique(targets)
    ]
    return chance.permutation(np.concatenate(chosen))
