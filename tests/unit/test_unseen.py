"""Every representation of a task, judged on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training.encoder.embedder import Embedder
from models.training.encoder.model import Design, MultiTaskEncoder
from models.training.encoder.results import mean_accuracies
from models.training.encoder.suite import Rows, TaskData
from models.training.encoder.unseen import FROZEN, forms_of, lines_of, means_of, measure
from tests.unit.tiny import words


def task_of_words(name: str, labels: int) -> TaskData:
    """A class's texts are of words of its own."""
    chance = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 60), ("validation", 20), ("test", 30)):
        targets = np.arange(count) % labels
        # Three words a text of the class's five.
        texts = [words(3, start=int(5 * label + chance.integers(3))) for label in targets]
        splits[split] = Rows(texts, targets)
    return TaskData(name, tuple(map(str, range(labels))), splits)  # type: ignore[arg-type]


def test_all_representations_of_a_task(tiny_bert: Path, tmp_path: Path) -> None:
    model = MultiTaskEncoder(Design(str(tiny_bert), layers=(-2, -1)), {})
    encoders = {name: Embedder(model, tmp_path) for name in (FROZEN, "run")}
    tasks = [task_of_words("two", 2), task_of_words("three", 3)]
    calibration = [text for task in tasks for text in task.splits["train"].texts]
    results = {}
    for task in tasks:
        forms = forms_of(task, encoders, calibration)
        results[task.name] = measure(task, forms, shots=[4], draws=2)
    # The frozen encoder and the run are one model here.
    for by in results.values():
        assert by["all"]["frozen bits"] == by["all"]["run bits"]
        assert by["all"]["frozen floats"] == by["all"]["run floats"]
        assert by["all"]["tfidf"] > 95
    assert results["two"]["all"]["majority"] == 50.0
    assert results["three"]["all"]["majority"] == round(100 / 3, 3)
    path = tmp_path / "lines.jsonl"
    path.write_text(lines_of(results, "run bits"))
    mean = round(sum(by["all"]["run bits"] for by in results.values()) / 2, 3)
    assert mean_accuracies({"encoder": path}) == ({"encoder": pytest.approx(mean, abs=0.002)}, 2)
    means = means_of(results)
    assert set(means) == {"all", "4"}
    assert set(means["4"]) == set(means["all"]) - {"majority"}
    both = [results[name]["4"]["run bits"] for name in ("two", "three")]
    assert means["4"]["run bits"] == round(sum(both) / 2, 2)
