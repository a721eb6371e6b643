"""Trainings beside each other: jobs of files in, a result each out, what fails written down."""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.training.backbones import SHIPPED
from models.training.encoder import sweep
from models.training.encoder.loop import Plan
from models.training.encoder.suite import GROUPS, tasks_of
from models.training.encoder.sweep import Job, read_jobs, read_material, run_all
from tests.unit.tiny import words, write_bert

ENCODER = "models.training.encoder"
PLAN = {"steps": 4, "texts": 8, "at_once": 8, "check_every": 2, "average": 0.9, "head_steps": 3}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two groups of one task, each unseen in a fold; a text's first word tells its class."""
    root, groups = tmp_path / "data", {"one": ("first",), "other": ("second",)}
    for names in groups.values():
        for name in names:
            (root / name).mkdir(parents=True)
            (root / name / "meta.json").write_text(json.dumps({"label_names": ["a", "b"]}))
            for split in ("train", "validation", "test"):
                with gzip.open(root / name / f"{split}.jsonl.gz", "wt") as file:
                    for row in range(30):
                        text = f"{words(1, row % 2)} {words(2 + row % 5, row)}"
                        file.write(json.dumps({"text": text, "label": row % 2}) + "\n")
    monkeypatch.setattr(f"{ENCODER}.suite.GROUPS", groups)
    monkeypatch.setattr(f"{ENCODER}.suite.FOLDS", (("one",), ("other",)))
    monkeypatch.setattr(sweep, "GROUPS", groups)
    backbone = write_bert(tmp_path / "bert", num_hidden_layers=3)
    monkeypatch.setattr(sweep, "resolve_backbone", lambda _: str(backbone))
    monkeypatch.setattr(
        "models.training.encoder.embedder.resolve_backbone", lambda _: str(backbone)
    )
    return root


def test_jobs_of_files_each_get_a_result(data: Path, tmp_path: Path) -> None:
    jobs = [
        {"name": "untrained", "fold": 0, "plan": {"steps": 0}, "shots": [4], "draws": 2},
        {"name": "trained", "fold": 1, "plan": PLAN, "teachers": ["own", "other"]},
        {"name": "all", "fold": None, "plan": {**PLAN, "keep": 0.0, "head_steps": 0}},
        {"name": "wrong", "fold": 0, "plan": {**PLAN, "steps": -1, "texts": 0}},
    ]
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(jobs))
    out = tmp_path / "out"
    out.mkdir()
    teachers = {"own": SHIPPED, "other": str(tmp_path / "bert")}
    material = read_material(data, tmp_path / "cache", teachers, 30)
    assert material.taught["own", "first"].shape[0] == 30
    assert material.taught["other", "first"].shape == (30, 32)
    done = argparse.Namespace(out=out, watch=None, watch_seconds=0.0, workers=2)
    run_all(read_jobs(file), material, done)
    untrained = json.loads((out / "untrained.json").read_text())
    assert set(untrained["tasks"]) == {"first"}
    assert set(untrained["means"]) == {"floats", "bits", "floats 4", "bits 4"}
    trained = json.loads((out / "trained.json").read_text())
    assert set(trained["tasks"]) == {"second"}
    assert (out / "trained" / "best" / "encoder.safetensors").is_file()
    assert json.loads((out / "all.json").read_text())["tasks"] == {}
    assert "Traceback" in (out / "wrong.failed").read_text()
    assert not (out / "wrong.json").exists()


def test_the_published_jobs_are_of_known_fields() -> None:
    for job in read_jobs(Path(__file__).parents[2] / "runs" / "train_encoder_jobs.json"):
        replace(Plan(), **job.plan)
        assert set(job.tasks) <= set(tasks_of(tuple(GROUPS)))
        assert job.fold in (0, 1, 2, None)


def test_a_job_says_only_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text('[{"name": "a", "shots": [8, 32]}]')
    (job,) = read_jobs(file)
    assert job == Job("a", shots=(8, 32))
