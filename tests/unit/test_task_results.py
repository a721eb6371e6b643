"""models.training.encoder.results: what is done is not done again, and never under other rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.encoder.results import TaskResults, mean_accuracies, read_lines

SETTINGS = {"epochs": 3, "rates": (0.1, 0.2)}


def test_lines_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    results = TaskResults(path, SETTINGS)
    results.add("a", {"test_accuracy": 50.0})
    results.add("b", {"test_accuracy": 75.0})
    again = TaskResults(path, SETTINGS)
    assert "a" in again
    assert "b" in again
    assert "c" not in again
    assert again.lines == results.lines
    assert [line["task"] for line in read_lines(path)] == ["a", "b"]


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    TaskResults(path, SETTINGS).add("a", {"test_accuracy": 50.0})
    whole = path.read_text()
    for cut in (1, 10, len(whole) - 1):
        path.write_text(whole + whole[:cut].replace('"a"', '"b"'))
        results = TaskResults(path, SETTINGS)
        assert list(results.lines) == ["a"]
        results.add("b", {"test_accuracy": 1.0})
        assert [line["task"] for line in read_lines(path)] == ["a", "b"]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    TaskResults(path, SETTINGS).add("a", {"test_accuracy": 50.0})
    with pytest.raises(ValueError, match="name another folder"):
        TaskResults(path, SETTINGS | {"epochs": 4})


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for text in ("nonsense\n", "[1]\n", '{"test_accuracy": 1.0}\n'):
        path.write_text(text)
        with pytest.raises(ValueError, match="line 1"):
            TaskResults(path, SETTINGS)


def test_means_are_over_the_tasks_that_all_have(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for task, accuracy in (("a", 50.0), ("b", 70.0), ("c", 90.0)):
        TaskResults(one, {}).add(task, {"test_accuracy": accuracy})
    for task, accuracy in (("c", 80.0), ("a", 20.0), ("d", 0.0)):
        TaskResults(two, {}).add(task, {"test_accuracy": accuracy})
    means, tasks = mean_accuracies({"one": one, "two": two})
    assert means == {"one": 70.0, "two": 50.0}
    assert tasks == 2
    three = tmp_path / "three.jsonl"
    TaskResults(three, {}).add("e", {"test_accuracy": 1.0})
    with pytest.raises(ValueError, match="no task"):
        mean_accuracies({"one": one, "three": three})
