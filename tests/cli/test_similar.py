"""`polyhead similar` and `polyhead suspects`, on the real service."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.api.test_tasks import rows
from tests.cli.conftest import Polyhead


def test_near_texts_and_wrong_labels(polyhead: Polyhead, task: str, tmp_path: Path) -> None:
    examples = rows(80, seed=921)
    examples[10]["label"] = {"fruit": "tool", "tool": "fruit"}[examples[10]["label"]]
    file = tmp_path / "data.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["text", "label"])
        writer.writeheader()
        writer.writerows(examples)
    assert polyhead("train", file, "--task", task).status == 0

    found = polyhead("suspects", file, "--task", task, "--limit", 2)
    assert found.status == 0, found.err
    worst = found.lines[0]
    assert (worst["row"], worst["text"]) == (10, examples[10]["text"])
    assert worst["label"] == examples[10]["label"] != worst["suggested"]
    assert len(worst["neighbours"]) == 3
    assert polyhead("suspects", "--task", task).lines[0]["text"] is None
    table = polyhead("suspects", file, "--task", task, "--format", "table").out
    assert "suspicion" in table
    other = tmp_path / "other.csv"
    other.write_text("text,label\nno,fruit\n")
    refused = polyhead("suspects", other, "--task", task)
    assert refused.status == 2
    assert "is not what version 1 was trained on" in refused.err

    text = examples[0]["text"]
    near = polyhead("similar", text, "--task", task, "--limit", 2).one
    assert near["neighbours"][0] | {"share": 0} == {
        "distance": 0,
        "share": 0,
        "version": 1,
        "part": "examples",
        "row": 0,
        "label": examples[0]["label"],
    }
    codes = polyhead("similar", text + "!", "--fresh", "--tasks", "sentiment", "--limit", 1)
    assert codes.status == 0, codes.err
    (one,) = codes.one["neighbours"]
    assert list(one) == ["distance", "share", "key", "predictions"]
    assert (
        "sentiment: " in polyhead("similar", text, "--tasks", "sentiment", "--format", "table").out
    )
    assert polyhead("similar", "a", "--task", "no-such-task").status == 4
