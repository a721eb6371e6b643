"""models.drift and models.reference, against loops over rows, scikit-learn and SciPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.metrics.pairwise import linear_kernel

from models.artifact import ArtifactError
from models.codes import Codes
from models.drift import MIN_TEXTS, Drift, answer_shift, measure_drift
from models.head_runtime import LinearHead
from models.reference import (
    MIN_ROWS,
    REFERENCE,
    Reference,
    answer_counts,
    bit_weights,
    count_ones,
    load_reference,
    make_reference,
    reference_as_tensors,
    reference_of_tensors,
    save_reference,
)

BITS = 64


def rows(count: int, seed: int, mean: float = 0.0, factors: int = 8) -> Codes:
    """Different codes with correlated bits: signs of `factors` hidden values, and noise."""
    mix = np.random.default_rng(0).normal(size=(factors, BITS))
    random = np.random.default_rng(seed)
    hidden = random.normal(mean, 1, size=(3 * count, factors))
    noise = random.normal(0, 0.5, size=(3 * count, BITS))
    codes = np.unique(np.packbits(hidden @ mix + noise > 0, axis=1), axis=0)
    return random.permutation(codes)[:count]


def reference_of(codes: Codes) -> Reference:
    reference = make_reference(codes)
    assert reference is not None
    return reference


def drift_of(reference: Reference, codes: Codes) -> Drift:
    drift = measure_drift(reference, count_ones(codes), len(codes))
    assert drift is not None
    return drift


def test_ones_are_counted_as_bit_by_bit() -> None:
    codes = rows(50, 1)
    counts = [0] * BITS
    for code in codes:
        for place in range(BITS):
            counts[place] += code[place // 8] >> (7 - place % 8) & 1
    assert count_ones(codes).tolist() == counts


def test_the_distance_is_that_of_a_kernel_two_sample_test() -> None:
    train, live = rows(200, 1), rows(90, 2, mean=0.4)
    reference = reference_of(train)
    scale = np.sqrt(bit_weights(reference.ones, 200))
    x, y = (np.unpackbits(codes, axis=1) * scale for codes in (train, live))
    squared = linear_kernel(x).mean() + linear_kernel(y).mean() - 2 * linear_kernel(x, y).mean()
    noise = 1 / 200 + 1 / 90
    drift = drift_of(reference, live)
    assert drift.score == pytest.approx(np.sqrt(squared / (reference.limit * noise)))
    spread = x.var(axis=0, ddof=1).sum()
    assert drift.distance == pytest.approx(np.sqrt(squared / spread - noise))


def test_the_limit_is_the_chi_square_s_where_bits_are_independent() -> None:
    random = np.random.default_rng(3)
    codes = random.integers(0, 256, (5_000, BITS // 8), dtype=np.uint8)
    assert reference_of(codes).limit == pytest.approx(chi2.ppf(0.99, BITS), rel=0.05)
    # Of bits that all say the same it is much wider: one chi-square, many times.
    copies = np.repeat(np.arange(256, dtype=np.uint8)[:, None], BITS // 8, axis=1)
    assert reference_of(copies).limit > 1.5 * chi2.ppf(0.99, BITS)


@pytest.mark.parametrize(("trained", "texts"), [(60, 300), (500, 60), (500, 500)])
def test_false_alarms_are_rare_whatever_the_sizes(trained: int, texts: int) -> None:
    alarms = 0
    for seed in range(60):
        codes = rows(trained + texts, seed)
        alarms += drift_of(reference_of(codes[:trained]), codes[trained:]).score > 1
    assert alarms <= 4  # 0.6 are expected; 5 of 60 at 1% is one case in 3000


def test_the_distance_does_not_grow_with_the_texts_but_the_score_does() -> None:
    reference = reference_of(rows(2_000, 1))
    few, many = (drift_of(reference, rows(n, 7, mean=0.5)) for n in (200, 1_600))
    assert many.distance == pytest.approx(few.distance, rel=0.1)
    assert many.score > 1.5 * few.score > 1.5


def test_the_distance_is_the_foreign_share_s() -> None:
    codes, foreign = rows(4_000, 1), rows(2_000, 2, mean=1.0)
    reference = reference_of(codes[:2_000])
    whole = drift_of(reference, foreign).distance
    for share in (0.2, 0.5):
        count = int(share * 2_000)
        mixed = np.concatenate([foreign[:count], codes[2_000 + count :]])
        assert drift_of(reference, mixed).distance == pytest.approx(share * whole, abs=0.03)


@given(st.integers(MIN_TEXTS, 300), st.integers(0, 2**32 - 1))
def test_training_rows_asked_again_are_no_drift(texts: int, seed: int) -> None:
    train = rows(300, 5)
    chosen = np.random.default_rng(seed).permutation(train)[:texts]
    drift = drift_of(reference_of(train), chosen)
    assert 0 <= drift.score < 1.1
    assert drift.distance < 0.35
    if texts == 300:
        assert drift == Drift(300, 0.0, 0.0)


@given(st.integers(0, 2**32 - 1))
def test_any_codes_have_a_finite_drift(seed: int) -> None:
    random = np.random.default_rng(seed)
    # Bits that are never or always set, in training rows or live.
    train = random.integers(0, 256, (40, 2), dtype=np.uint8)
    train &= random.integers(0, 256, dtype=np.uint8)
    reference = make_reference(train)
    live = random.integers(0, 256, (MIN_TEXTS, 2), dtype=np.uint8)
    live |= random.integers(0, 256, dtype=np.uint8)
    if reference is None:
        assert len(np.unique(train, axis=0)) < MIN_ROWS
        return
    drift = drift_of(reference, live)
    assert np.isfinite([drift.score, drift.distance]).all()
    assert drift.score >= 0 <= drift.distance


def test_a_code_counts_once() -> None:
    train = rows(100, 1)
    twice = reference_of(np.concatenate([train, train[:40]]))
    assert twice.rows == 100
    assert twice.ones.tolist() == reference_of(train).ones.tolist()


def test_too_few_say_nothing() -> None:
    assert make_reference(rows(MIN_ROWS - 1, 1)) is None
    live = rows(MIN_TEXTS - 1, 2)
    assert measure_drift(reference_of(rows(50, 1)), count_ones(live), len(live)) is None


def test_codes_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bits, training rows of 64"):
        measure_drift(reference_of(rows(50, 1)), np.zeros(16, dtype=np.uint32), 50)


def test_answers_are_compared_as_shares() -> None:
    reference = replace(reference_of(rows(50, 1)), answers=np.array([25, 25, 0], dtype=np.uint32))
    shift = answer_shift(reference, np.array([10, 0, 10]))
    assert shift is not None
    assert shift.share == pytest.approx(0.5)
    assert answer_shift(reference, np.zeros(3, dtype=int)) is None
    assert answer_shift(replace(reference, answers=None), np.ones(3)) is None


def test_the_chance_of_a_shift_is_that_of_drawing() -> None:
    shares = np.array([0.5, 0.3, 0.1, 0.1])
    random = np.random.default_rng(0)
    found, expected = [], []
    for _ in range(400):
        trained, live = random.multinomial(200, shares), random.multinomial(80, shares)
        reference = replace(reference_of(rows(30, 1)), answers=trained.astype(np.uint32))
        shift = answer_shift(reference, live)
        assert shift is not None
        found.append(shift.share)
        expected.append(shift.chance)
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.05)


def test_answers_are_counted_as_one_by_one() -> None:
    codes, random = rows(60, 1), np.random.default_rng(1)
    head = LinearHead(
        random.normal(size=(BITS, 3)).astype(np.float32), np.zeros(3, dtype=np.float32)
    )
    counts = answer_counts(head, "single_label", 3, codes)
    signs = np.unpackbits(codes, axis=1) * 2.0 - 1.0
    best = [int(np.argmax(row @ head.weight)) for row in signs]
    assert counts is not None
    assert counts.tolist() == [best.count(label) for label in range(3)]
    assert answer_counts(head, "multi_label", 3, codes) is None


def test_a_reference_comes_back_as_it_was(tmp_path: Path) -> None:
    answers = np.array([30, 20], dtype=np.int64)
    reference = make_reference(rows(50, 1), answers)
    assert reference is not None
    save_reference(tmp_path, reference)
    again = load_reference(tmp_path, BITS, 2)
    assert again is not None
    assert (again.rows, again.limit) == (reference.rows, reference.limit)
    assert again.ones.tolist() == reference.ones.tolist()
    assert again.answers is not None
    assert again.answers.tolist() == [30, 20]
    (tmp_path / REFERENCE).unlink()
    assert load_reference(tmp_path, BITS, 2) is None


@pytest.mark.parametrize(
    "change",
    [
        {"ones": np.zeros(8, dtype=np.uint32)},
        {"ones": np.zeros(BITS, dtype=np.int64)},
        {"ones": np.full(BITS, 51, dtype=np.uint32)},
        {"rows": np.array([3], dtype=np.uint32)},
        {"rows": np.array(50, dtype=np.uint32)},
        {"limit": np.array([np.nan])},
        {"limit": np.array([0.0])},
        {"limit": np.array([-1.0])},
        {"answers": np.zeros(3, dtype=np.uint32)},
        {"more": np.zeros(3, dtype=np.uint32)},
    ],
)
def test_a_reference_that_cannot_be_is_refused(change: dict[str, np.ndarray]) -> None:
    tensors = reference_as_tensors(reference_of(rows(50, 1)))
    with pytest.raises(ArtifactError, match=REFERENCE):
        reference_of_tensors(tensors | change, BITS, 2)
    for name in tensors:
        with pytest.raises(ArtifactError, match=REFERENCE):
            reference_of_tensors({n: t for n, t in tensors.items() if n != name}, BITS, 2)
