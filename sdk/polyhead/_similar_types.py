"""What `similar` and `tasks.suspects` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._types import Prediction, Results


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored code, or a row of a version, near to an input.

    Attributes:
        distance: Bits in which the two codes differ.
        share: The same as a share of all bits.
        key: Of a stored code; None of a row.
        predictions: Of a stored code, where tasks were asked.
        version: Of a row: the version that it came with.
        part: Of a row: `examples` or `test_examples` of that version.
        row: Of a row: its place there, from 0.
        label: Of a row, by its kind of task.
        labels: Of a row, by its kind of task.
        value: Of a row, by its kind of task.
    """

    distance: int
    share: float
    key: str | None = None
    predictions: Mapping[str, Prediction] | None = None
    version: int | None = None
    part: str | None = None
    row: int | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours of one input.

    Attributes:
        index: Of the input, over the whole call.
        key: Of the input.
        neighbours: Nearest first.
    """

    index: int
    key: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Searched:
    """What was searched.

    Attributes:
        codes: How many.
        complete: False where more are stored than the service holds for searches.
        age_s: Seconds since they were read; None for rows of a version.
    """

    codes: int
    complete: bool
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Similar(Results[Neighbours]):
    """What `similar` returns: a sequence of `Neighbours`.

    Attributes:
        bits: Width of a code.
        encoder: Fingerprint of the encoder.
        searched: What was searched by the first request of the call.
    """

    bits: int
    encoder: str
    searched: Searched


@dataclass(frozen=True, slots=True)
class SuspectNeighbour:
    """A row near to a suspect. See `Neighbour`."""

    version: int
    part: str
    row: int
    label: str
    distance: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label may be wrong.

    Attributes:
        version: That it came with.
        part: `examples` or `test_examples` of that version.
        row: Its place there, from 0.
        label: What it was labelled.
        suggested: The likeliest other label.
        suspicion: From 0 to 1, how much speaks against the label.
        probability: Of the label, by heads that were not fitted on the row.
        agreeing: Of its ten nearest rows, those with its label.
        neighbours: Nearest first.
    """

    version: int
    part: str
    row: int
    label: str
    suggested: str
    suspicion: float
    probability: float
    agreeing: int
    neighbours: tuple[SuspectNeighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspects:
    """What `tasks.suspects` returns.

    Attributes:
        task: The task.
        version: The version.
        rows: How many it was made from.
        data: The most suspicious ones first.
    """

    task: str
    version: int
    rows: int
    data: tuple[Suspect, ...]
