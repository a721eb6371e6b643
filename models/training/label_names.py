"""What a label is called, read as examples of it: with few rows a name says more than a row.

Source: the idea of Chang et al., "Importance of Semantic Representation: Dataless Classification"
(2008), section 2, here beside labelled rows: label names in the same space as the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.head_runtime import TaskKind

# Rows a label under which names are read; with more they no longer tell (docs/experiments.md).
FEW_ROWS = 64
NAME_WEIGHT = 4.0  # rows that a name counts as
LETTERS = 2  # that a name needs to be a word


def texts_of_names(labels: Sequence[str], kind: TaskKind, rows: int) -> list[str]:
    """The labels' names as texts to encode.

    Args:
        labels: of the task.
        kind: of the task.
        rows: labelled rows that there are to train on.

    Returns:
        A text a label; none where names would not help: many rows, names that are no words
        (numbers, single letters), or labels that do not exclude each other.
    """
    if kind != "single_label" or rows >= FEW_ROWS * len(labels):
        return []
    if not all(_is_word(label) for label in labels):
        return []
    return [" ".join(label.replace("_", " ").split()) for label in labels]


def _is_word(label: str) -> bool:
    return sum(letter.isalpha() for letter in label) >= LETTERS
