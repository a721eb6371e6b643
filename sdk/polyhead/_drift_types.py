"""Live texts against the rows that a head was trained on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LabelShare:
    """How often a label is given to the training rows, and live."""

    label: str
    trained: float
    live: float


@dataclass(frozen=True, slots=True)
class AnswerDrift:
    """Whether labels are given as often as to the training rows.

    Attributes:
        share: Of the answers that would have to be others for that.
        by_chance: What that share is expected to be where nothing has changed.
        labels: Those whose share differs most.
    """

    share: float
    by_chance: float
    labels: tuple[LabelShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the texts that one process is asked about are from a task's training rows.

    Attributes:
        task: The task.
        texts: Different texts that were compared, of the newest.
        version: The active version, whose training rows are compared with.
        drift: 1 is as far as 99 of 100 fresh samples of the training rows stay; None: not known.
        distance: In standard deviations of the training rows, less the noise. Unlike `drift` it
            does not grow with the number of texts.
        shifted: Whether `drift` is over 1; None: not known.
        training_rows: Different ones; None where nothing is stored of them.
        since: When the process began to keep codes of the task, in Unix seconds.
        reason: Why there is no drift.
        answers: Of single label tasks.
    """

    task: str
    texts: int
    version: int | None = None
    drift: float | None = None
    distance: float | None = None
    shifted: bool | None = None
    training_rows: int | None = None
    since: float | None = None
    reason: str | None = None
    answers: AnswerDrift | None = None
