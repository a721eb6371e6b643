"""Which tasks are trained on and which stay unseen; sampling. References: counts by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.encoder.suite import (
    FOLDS,
    GROUPS,
    choose_shots,
    load_task,
    split_fold,
    tasks_of,
    tempered,
)


def test_every_task_is_unseen_in_exactly_one_fold() -> None:
    unseen = [task for fold in range(len(FOLDS)) for task in split_fold(fold)[1]]
    assert sorted(unseen) == sorted(tasks_of(tuple(GROUPS)))
    assert len(set(unseen)) == len(unseen) == 42


def test_no_fold_trains_on_what_it_is_judged_by() -> None:
    for fold in range(len(FOLDS)):
        seen, unseen = split_fold(fold)
        assert not set(seen) & set(unseen)
        assert len(seen) + len(unseen) == 42
        for group in GROUPS.values():  # twins go together
            assert set(group) <= set(seen) or set(group) <= set(unseen)


def test_without_a_fold_all_tasks_are_trained_on_and_judged() -> None:
    assert split_fold(None) == (tasks_of(tuple(GROUPS)),) * 2


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ValueError, match="weather"):
        tasks_of(("topic", "weather"))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50), st.floats(0, 1))
def test_tempered_shares(sizes: list[int], exponent: float) -> None:
    shares = tempered(sizes, exponent)
    assert shares.sum() == pytest.approx(1)
    order = np.argsort(sizes, kind="stable")
    assert (np.diff(shares[order]) >= -1e-12).all()
    # Never more uneven than the sizes, never less even than none.
    assert shares.max() / shares.min() <= max(sizes) / min(sizes) * (1 + 1e-9)


def test_tempered_at_its_ends() -> None:
    np.testing.assert_allclose(tempered([10, 30, 60], 1.0), [0.1, 0.3, 0.6])
    np.testing.assert_allclose(tempered([10, 30, 60], 0.0), [1 / 3] * 3)
    np.testing.assert_allclose(tempered([1, 4], 0.5), [1 / 3, 2 / 3])
    for sizes in ([], [3, 0]):
        with pytest.raises(ValueError, match="sizes"):
            tempered(sizes, 0.5)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_shots(labels: list[int], per_class: int, seed: int) -> None:
    targets = np.array(labels)
    rows = choose_shots(targets, per_class, np.random.default_rng(seed))
    assert len(set(rows.tolist())) == len(rows)
    for label in set(labels):
        assert (targets[rows] == label).sum() == min(per_class, labels.count(label))


def test_a_task_is_cut_to_its_budget(tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"label_names": ["red", "green"]}))
    for split, count in (("train", 5), ("validation", 3), ("test", 2)):
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
            for number in range(count):
                file.write(json.dumps({"text": f"{split} {number}", "label": number % 2}) + "\n")
    task = load_task(tmp_path, "colours", {"train": 4, "test": 9})
    assert task.labels == ("red", "green")
    assert set(task.splits) == {"train", "test"}
    assert task.splits["train"].texts == [f"train {number}" for number in range(4)]
    assert task.splits["train"].targets.tolist() == [0, 1, 0, 1]
    assert sorted(task.splits["test"].texts) == ["test 0", "test 1"]


def test_rows_that_lie_class_by_class_are_sampled(tmp_path: Path) -> None:
    folder = tmp_path / "sorted"
    folder.mkdir()
    (folder / "meta.json").write_text(json.dumps({"label_names": ["low", "high"]}))
    with gzip.open(folder / "test.jsonl.gz", "wt") as file:
        for number in range(1000):
            file.write(json.dumps({"text": str(number), "label": number // 500}) + "\n")
    rows = load_task(tmp_path, "sorted", {"test": 200}).splits["test"]
    assert 70 < rows.targets.sum() < 130
    assert [int(text) // 500 for text in rows.texts] == rows.targets.tolist()
    assert len(set(rows.texts)) == 200
    again = load_task(tmp_path, "sorted", {"test": 200}).splits["test"]
    assert again.texts == rows.texts
