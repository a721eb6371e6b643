"""mteb's classification tasks against the service.

mteb fetches its data sets from a hub. So that no network is needed, the tasks here are of its own
kind with data of ours: the example in this repository, and with `POLYHEAD_TEST_DATA` a folder of
data sets (`NAME/train.jsonl.gz` and `NAME/test.jsonl.gz`, a `text` and a `label` each).
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, ServiceProcess

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install -e '.[mteb]'")
datasets = pytest.importorskip("datasets")

from mteb.abstasks import AbsTaskClassification  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from polyhead.mteb import PolyheadModel  # noqa: E402

Rows = dict[str, list[Any]]
TEST_ROWS = 300


def task_of(name: str, train: Rows, test: Rows) -> AbsTaskClassification:
    """A classification task of mteb's over rows that are here."""
    about = TaskMetadata(
        name=name,
        description="Rows that are here.",
        dataset={"path": f"local/{name}", "revision": "1"},
        type="Classification",
        category="t2c",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
    )

    class Local(AbsTaskClassification):
        metadata = about
        n_experiments = 3

        def load_data(self, **_: Any) -> None:
            self.dataset = datasets.DatasetDict(
                train=datasets.Dataset.from_dict(train), test=datasets.Dataset.from_dict(test)
            )
            self.data_loaded = True

    return Local()


def accuracy(service: ServiceProcess, task: AbsTaskClassification, precision: Any = "code") -> Any:
    """The task's mean accuracy by mteb's own evaluation."""
    model = PolyheadModel(service.url, precision)
    result = mteb.evaluate(
        model, task, cache=None, co2_tracker=False, show_progress_bar=False, raise_error=True
    )
    (found,) = result.task_results
    return found.get_score()


def majority(rows: Rows) -> float:
    return max(Counter(rows["label"]).values()) / len(rows["label"])


def support() -> tuple[Rows, Rows]:
    """The 200 questions in `examples/`, every fourth held out."""
    with (ROOT / "examples" / "card-support.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    parts: tuple[Rows, Rows] = ({"text": [], "label": []}, {"text": [], "label": []})
    for number, row in enumerate(found):
        part = parts[number % 4 == 0]
        part["text"].append(row["text"])
        part["label"].append(row["label"])
    return parts


@pytest.mark.parametrize("precision", ["code", "full"])
def test_a_task_from_the_examples(service: ServiceProcess, precision: str) -> None:
    train, test = support()
    score = accuracy(service, task_of("CardSupport", train, test), precision)
    assert score > majority(test) + 0.2


def test_the_model_says_which_encoder_it_is(service: ServiceProcess) -> None:
    meta = PolyheadModel(service.url).mteb_model_meta
    assert meta.revision == service.http.get("/info").json()["encoder"]["fingerprint"]
    assert meta.embed_dim == 1536


def read(folder: Path, part: str, most: int) -> Rows:
    with gzip.open(folder / f"{part}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(most), strict=False)]
    return {name: [row[name] for row in rows] for name in ("text", "label")}


@pytest.mark.parametrize("name", ["sst2", "trec6", "banking77"])
def test_tasks_from_a_folder(service: ServiceProcess, name: str) -> None:
    root = os.environ.get("POLYHEAD_TEST_DATA")
    if root is None:
        pytest.skip("POLYHEAD_TEST_DATA names no folder of data sets")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"there is no {name} in POLYHEAD_TEST_DATA")
    train, test = read(folder, "train", 4000), read(folder, "test", TEST_ROWS)
    score = accuracy(service, task_of(name, train, test))
    print(f"{name}: accuracy {score:.3f}, majority {majority(test):.3f}")
    assert score > majority(test)
