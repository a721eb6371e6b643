"""models.training.ready_heads: a reference is written beside the head that its rows made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.head_artifact import HeadManifest
from models.head_runtime import LinearHead
from models.training.datasets import LabelledTexts
from models.training.ready_heads import READY, check_same_rows, training_accuracy

ROWS = LabelledTexts(["one", "two", "three"], ["a", "b", "a"])


def test_a_head_of_these_rows_passes_and_others_do_not(
    make_manifest: Callable[..., HeadManifest],
) -> None:
    manifest = make_manifest(report={"n_train": 3})
    check_same_rows(READY[0], manifest, ROWS, "f1")
    for other in (
        replace(manifest, report={"n_train": 4}),
        replace(manifest, report=None),
        replace(manifest, labels=("a", "c")),
        replace(manifest, encoders={"f2": {}, "f1": {}}),
    ):
        with pytest.raises(ValueError, match=READY[0].name):
            check_same_rows(READY[0], other, ROWS, "f1")


def test_the_training_accuracy_is_the_share_of_right_answers(
    make_head: Callable[..., LinearHead], random_codes: Callable[..., Any]
) -> None:
    codes, targets = random_codes(5, 8), np.array([0, 1, 1, 0, 1])
    assert training_accuracy(make_head(1), codes, targets) == pytest.approx(0.6)
