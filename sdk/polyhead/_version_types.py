"""Shadows, backfills, and heads that a new encoder leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Answer = str | tuple[str, ...] | None
"""A label, all labels, or None where the version was not sure."""


@dataclass(frozen=True, slots=True)
class ShadowPair:
    """Two answers that differ, and how often they did."""

    active: Answer
    shadow: Answer
    count: int


@dataclass(frozen=True, slots=True)
class ShadowExample:
    """A text that was answered differently, by its key: `predict(keys=[key])`."""

    key: str
    active: Answer
    shadow: Answer


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that answers live traffic beside the active one, unseen.

    Attributes:
        task: The task.
        version: The shadow.
        texts: Texts compared by the process that answers this call, since it started or one of
            the two versions changed.
        active_version: What it is compared with.
        since: When the first text was compared, in Unix seconds.
        dropped: Texts not compared, because more came than could be.
        disagreements: Texts answered differently; None for a regression.
        rate: Their share; None for a regression or before the first text.
        interval: Its 95% interval (Wilson's), lower and upper end.
        mean_difference: Regression only: shadow less active.
        mean_absolute_difference: Regression only.
        pairs: Answers that differ, the most frequent first.
        examples: The last texts that were answered differently.
    """

    task: str
    version: int
    texts: int
    active_version: int | None = None
    since: float | None = None
    dropped: int = 0
    disagreements: int | None = None
    rate: float | None = None
    interval: tuple[float, ...] | None = None
    mean_difference: float | None = None
    mean_absolute_difference: float | None = None
    pairs: tuple[ShadowPair, ...] = ()
    examples: tuple[ShadowExample, ...] = ()


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill did.

    Attributes:
        texts: Lines written, one a stored code; a key may come twice. None of a Parquet file,
            whose own footer says it.
        encoder: Fingerprint of the encoder whose codes they are; of a Parquet file None: it is in
            the metadata of its schema.
        encoded: Encoder passes made: none.
        seconds: How long the service took.
    """

    texts: int | None = None
    encoder: str | None = None
    encoded: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OutdatedHead:
    """An active head that reads the codes of another encoder than the running one.

    Attributes:
        task: The task.
        version: The active version.
        kind: Kind of the task.
        encoder: Fingerprint of the encoder whose codes it reads.
        ready_made: Whether the task came with the service.
        options: What it was trained with, as far as is known.
    """

    task: str
    version: int
    kind: str
    encoder: str
    ready_made: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
