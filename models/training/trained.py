"""What a training gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Floats
from models.head_runtime import Head, HeadKind


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head and how it was chosen.

    Attributes:
        head: what is served, calibrated.
        kind: of the head.
        uncalibrated: of a classifier: the same head before its temperature.
        temperature: what the outputs were divided by; None for a regression.
        thresholds: multi label: what each label's probability must be above.
        cross_fitted: row numbers, and probabilities (a regression: values) for them, by heads
            that were not fitted on them; None where none could be held out.
        hyperparameters: for the report.
        warnings: for the report.
    """

    head: Head
    kind: HeadKind
    uncalibrated: Head | None = None
    temperature: float | None = None
    thresholds: tuple[float, ...] | None = None
    cross_fitted: tuple[NDArray[np.int64], Floats] | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
