"""Task folders of Hugging Face data sets: the real `datasets`, on files of this machine."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training import fetch
from models.training.datasets import read_meta, read_split
from models.training.encoder.suite import load_task
from models.training.fetch import read_rows, split_rows, write_task


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write_csv(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "kind"), *rows])
    return str(path)


def test_csv_files_to_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = [(f"text {n}", "odd" if n % 2 else "even") for n in range(100)]
    test = [("Text  7", "odd"), ("another", "even")]
    files = [f"train={write_csv(tmp_path / 'a.csv', train)}"]
    files += [f"test={write_csv(tmp_path / 'b.csv', test)}"]
    monkeypatch.setattr(sys, "argv", [
        "fetch", "csv", "--files", *files, "--text", "question", "--label", "kind",
        "--out", str(tmp_path / "data"), "--task", "parity",
    ])  # fmt: skip
    fetch.main()
    data = tmp_path / "data"
    task = load_task(data, "parity", {"train": 1000, "validation": 1000, "test": 1000})
    assert task.labels == ("even", "odd")
    assert sorted(task.splits["test"].texts) == ["Text  7", "another"]
    assert len(task.splits["validation"].texts) == 10
    # The text that is in test as well is gone from where it was.
    assert len(task.splits["train"].texts) + len(task.splits["validation"].texts) in (99, 100)
    assert "text 7" not in task.splits["train"].texts
    for rows in task.splits.values():
        for text, target in zip(rows.texts, rows.targets, strict=True):
            if text.startswith("text"):
                assert target == int(text.split()[1]) % 2
    assert task.splits["train"].texts[:10] != [f"text {n}" for n in range(10)]
    assert read_meta(data, "parity")["license"] == "unstated"


def test_class_labels_and_two_columns_from_a_saved_data_set(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "premise": datasets.Value("string"),
            "claim": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = {"premise": ["a", "b", "c"], "claim": ["x", "y", "z"], "label": [1, 0, -1]}
    folder = tmp_path / "saved"
    folder.mkdir()
    part = datasets.Dataset.from_dict(rows, features=features)
    part.to_parquet(folder / "train.parquet")
    found, _ = read_rows(str(folder), None, {}, ["premise", "claim"], "label")
    assert found == {"train": [("a\nx", "yes"), ("b\ny", "no")]}


@pytest.mark.parametrize(
    ("texts", "label", "message"),
    [(["body"], "kind", "no column 'body'"), (["question"], "mood", "no column 'mood'")],
)
def test_a_missing_column_is_named(
    tmp_path: Path, texts: list[str], label: str, message: str
) -> None:
    path = write_csv(tmp_path / "a.csv", [("one", "a")])
    with pytest.raises(ValueError, match=message):
        read_rows("csv", None, {"train": path}, texts, label)


def test_a_name_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot load no/such-data-set"):
        read_rows("no/such-data-set", None, {}, ["text"], "label")


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), min_size=20),
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy")), max_size=5),
    st.booleans(),
    st.integers(0, 9),
)
def test_no_text_is_in_two_splits(
    train: list[tuple[str, str]], test: list[tuple[str, str]], validated: bool, seed: int
) -> None:
    found = {"train": train} | ({"test": test} if test else {})
    found |= {"validation": train[:2]} if validated else {}
    try:
        splits = split_rows(found, seed)
    except ValueError as error:
        assert "no row is left" in str(error)  # noqa: PT017  # both are allowed
        return
    texts = [{text for text, _ in rows} for rows in splits.values()]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    if test:
        assert splits["test"] == test
    for rows in splits.values():
        assert set(rows) <= {*train, *test}


def test_without_a_training_split() -> None:
    with pytest.raises(ValueError, match="no split named train, but test"):
        split_rows({"test": [("a", "x")]}, 0)


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    splits = split_rows({"train": [(f"text {n}", "x") for n in range(40)]}, 0)
    write_task(tmp_path / "task", splits, {})
    with pytest.raises(FileExistsError):
        write_task(tmp_path / "task", {**splits, "test": []}, {})
    assert len(read_split(tmp_path, "task", "test").texts) == 4
    assert json.loads((tmp_path / "task" / "meta.json").read_text())["n_train"] == 32
