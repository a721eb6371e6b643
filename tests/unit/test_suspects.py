"""models.training.suspects: on rows whose wrong labels are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.codes import Codes, hamming
from models.training import suspects as module
from models.training.suspects import (
    find_suspects,
    held_out_scores,
    most_suspicious,
    neighbours_of_all,
)


def clusters(count: int, labels: int, seed: int = 0) -> tuple[Codes, np.ndarray]:
    """Codes around one centre a label, a quarter of the bits off."""
    random = np.random.default_rng(seed)
    centres = random.random((labels, 256)) < 0.5
    targets = np.arange(count) % labels
    bits = centres[targets] ^ (random.random((count, 256)) < 0.25)
    return np.packbits(bits, axis=1), targets


def test_flipped_labels_come_first() -> None:
    codes, targets = clusters(400, 4)
    flipped = np.arange(0, 400, 20)
    wrong = targets.copy()
    wrong[flipped] = (wrong[flipped] + 1) % 4
    found = most_suspicious(codes, wrong, 4, 30)
    assert set(found.rows[:20].tolist()) == set(flipped.tolist())
    assert found.suggested[:20].tolist() == targets[found.rows[:20]].tolist()
    assert (np.diff(found.suspicion) <= 0).all()
    assert (found.agreeing[:20] <= 4).all()
    assert (found.probability[:20] < 0.5).all()
    assert found.neighbours.shape == (30, module.NEIGHBOURS)


def test_a_label_alone_is_not_known_to_others() -> None:
    codes, targets = clusters(40, 2)
    targets[0] = 2
    scores = held_out_scores(codes, targets, 3)
    assert scores[0].tolist() == [1 / 3] * 3
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 5))
def test_neighbours_are_the_nearest_others(count: int, seed: int) -> None:
    codes, _ = clusters(count, 2, seed)
    codes[count // 2 :] = codes[: count - count // 2]  # equal ones among them
    found, distances = neighbours_of_all(codes)
    for row in range(count):
        every = hamming(codes[row : row + 1], codes)
        others = np.delete(every, row)
        assert distances[row].tolist() == np.sort(others)[: distances.shape[1]].tolist()
        assert every[found[row]].tolist() == distances[row].tolist()
        assert row not in found[row]


def test_many_rows_are_compared_with_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    codes, targets = clusters(300, 3)
    found = find_suspects(codes, targets, 3)
    assert len(np.unique(found.neighbours)) <= 50
    assert (found.neighbours != np.arange(300)[:, None]).all()
    assert (targets[found.neighbours] == targets[:, None]).mean() > 0.9
