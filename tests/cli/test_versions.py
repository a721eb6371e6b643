"""Two versions of a task on the command line: judged, set, moved and deleted."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from polyhead import Client

from tests.api.test_tasks import rows
from tests.cli.conftest import COMMAND, Polyhead, Ran, environment
from tests.conftest import ServiceProcess


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Texts labelled since: none of them was trained on."""
    file = tmp_path / "later.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(40, seed=912)))
    return file


@pytest.fixture
def two(service: ServiceProcess, task: str) -> Iterator[str]:
    """A task with two versions, the first active."""
    examples = [(row["text"], row["label"]) for row in rows(160, seed=913)]
    with Client(service.url) as client:
        for head in ("linear", "mlp"):
            client.tasks.train(task, examples, head=head, wait=True)
        yield task
        client.tasks.delete(task)


def table(polyhead: Polyhead, *arguments: object) -> Ran:
    return polyhead(*arguments, "--format", "table", COLUMNS="120")


def test_compare(polyhead: Polyhead, two: str, service: ServiceProcess) -> None:
    with Client(service.url) as client:
        expected = client.tasks.compare(two, 1, 2)
    found = polyhead("compare", two).one
    assert (found["a"]["version"], found["b"]["version"]) == (1, 2)
    assert found["rows"] == expected.rows > 0
    assert found["difference"]["mean"] == expected.difference.mean
    assert polyhead("compare", two, 2).one == found
    assert polyhead("compare", two, 2, 1).one["a"]["version"] == 2
    shown = table(polyhead, "compare", two).out
    assert "McNemar's p" in shown
    assert f"{expected.rows}, held out by one" in shown
    alone = polyhead("compare", "sentiment")
    assert (alone.status, alone.out) == (2, "")
    assert "only version 1" in alone.err
    assert polyhead("compare", two, 1, 9).status == 4


def test_evaluate_from_a_file_and_from_stdin(
    polyhead: Polyhead, two: str, labelled: Path, tmp_path: Path
) -> None:
    first = polyhead("evaluate", labelled, "--task", two)
    assert first.status == 0, first.err
    assert first.one["version"] == 1
    report = first.one["job"]["report"]
    assert (report["n_test"], report["test_source"]) == (40, "given")
    piped = polyhead("evaluate", "-", "--task", two, stdin=labelled.read_bytes()).one
    assert piped["job"]["report"]["accuracy"] == report["accuracy"] > 0.8
    other = table(polyhead, "evaluate", labelled, "--task", two, "--version", 2).out
    assert f"2 of {two}" in other
    assert "40 tested on (given)" in other
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("text,label\na text,no such label\n")
    refused = polyhead("evaluate", wrong, "--task", two)
    assert refused.status == 4
    assert len(refused.err.splitlines()) == 1
    assert polyhead("evaluate", "-", "--task", two).status == 2  # nothing on stdin


def test_training_from_stdin_and_following_the_job(
    polyhead: Polyhead, task: str, labelled: Path, service: ServiceProcess
) -> None:
    stdin = labelled.read_bytes()
    queued = polyhead("train", "-", "--task", task, "--no-wait", "-f", "table", stdin=stdin)
    assert queued.status == 0, queued.err
    with Client(service.url) as client:
        (job,) = (one for one in client.jobs.list() if one.task == task)
        assert f"`polyhead jobs {job.id} --wait`" in " ".join(queued.out.split())
        ended = polyhead("jobs", job.id, "--wait").one
        assert (ended["status"], ended["version"]) == ("succeeded", 1)
        kinds = {one["id"]: one["kind"] for one in polyhead("jobs").lines}
        assert kinds[job.id] == "training"
        assert polyhead("report", task).one["report"] == ended["report"]
        client.tasks.delete(task)
    assert polyhead("jobs", "no-such-job").status == 4
    assert polyhead("jobs", "--wait").status == 2


def test_report(polyhead: Polyhead, two: str) -> None:
    found = polyhead("report", two, 2).one
    assert (found["version"], found["head"], found["active"]) == (2, "mlp", False)
    shown = table(polyhead, "report", two).out
    assert f"1 of {two} (active)" in shown
    assert "always the most frequent" in shown
    assert polyhead("report", two, 7).status == 4


def test_learning_curve(polyhead: Polyhead, two: str) -> None:
    points = polyhead("learning-curve", two).lines
    report = polyhead("report", two).one["report"]
    assert {(one["task"], one["version"], one["n_test"]) for one in points} == {
        (two, 1, report["n_test"])
    }
    assert [one["rows"] for one in points] == sorted(one["rows"] for one in points)
    assert (points[-1]["rows"], points[-1]["accuracy"]) == (report["n_train"], report["accuracy"])
    assert polyhead("learning-curve", two, 2).lines[-1]["version"] == 2
    shown = table(polyhead, "learning-curve", two).out
    assert shown.splitlines()[0].split() == ["rows", "accuracy", "tested", "on"]
    assert f"{points[-1]['accuracy']:.3f} (" in shown
    assert polyhead("learning-curve", two, 7).status == 4
    assert polyhead("learning-curve", "sentiment").status == 4  # it came without rows


def test_shadow(polyhead: Polyhead, two: str, service: ServiceProcess) -> None:
    assert polyhead("shadow", "show", two).status == 4
    started = polyhead("shadow", "start", two).one
    assert (started["version"], started["texts"]) == (2, 0)
    texts = [row["text"] for row in rows(10, seed=914)]
    service.predict(texts, tasks=[two])
    deadline = time.monotonic() + 60
    while (found := polyhead("shadow", "show", two).one)["texts"] < 10:
        assert time.monotonic() < deadline, found
    assert found["active_version"] == 1
    assert "answered differently" in table(polyhead, "shadow", "show", two).out
    assert polyhead("shadow", "stop", two).one["texts"] == 10
    assert polyhead("shadow", "stop", two).status == 4
    assert polyhead("shadow", "start", two, 1).status == 4  # the active one
    assert polyhead("shadow").status == 2


def test_configure_one_label(polyhead: Polyhead, two: str) -> None:
    assert polyhead("configure", two).one["settings"]["min_confidence"] is None
    changed = polyhead("configure", two, 2, "--min-confidence", 0.999).one
    assert changed["version"] == 2
    assert changed["settings"]["min_confidence"] == 0.999
    assert 0 <= changed["settings"]["coverage"] <= 1
    shown = table(polyhead, "configure", two, 2).out
    assert "held-out texts answered" in shown
    assert (
        polyhead("configure", two, 2, "--always-answer").one["settings"]["min_confidence"] is None
    )
    for options, status in (
        (("--min-confidence", 2), 2),
        (("--min-confidence", 0.5, "--always-answer"), 2),
        (("--threshold", "fruit"), 2),
        (("--threshold", "fruit=much"), 2),
        (("--threshold", "fruit=0.5"), 4),  # it has one label, not several
    ):
        ran = polyhead("configure", two, *options)
        assert (ran.status, ran.out) == (status, ""), ran
        assert len(ran.err.splitlines()) == 1


def test_configure_several_labels(polyhead: Polyhead, task: str, service: ServiceProcess) -> None:
    examples = [(row["text"], [row["label"], "x=y"]) for row in rows(40, seed=915)]
    examples += [("neither of them", [])] * 4
    with Client(service.url) as client:
        trained = client.tasks.train(task, examples, wait=True).report
        assert trained is not None
        options = ("--threshold", "fruit=0.25", "--threshold", "x=y=0.75")
        changed = polyhead("configure", task, *options).one["settings"]
        assert changed["thresholds"] == {"fruit": 0.25, "x=y": 0.75}
        shown = table(polyhead, "configure", task).out
        assert "0.250 (by hand)" in shown
        assert f"{(trained.thresholds or {})['tool']:.3f} (trained)" in shown
        back = polyhead("configure", task, "--trained-thresholds").one["settings"]
        assert not back["thresholds"]
        client.tasks.delete(task)


def test_export_and_import(
    polyhead: Polyhead, two: str, task: str, tmp_path: Path, service: ServiceProcess
) -> None:
    done = polyhead("export", two, 2, "--rows").one
    file = tmp_path / f"{two}-2.safetensors"
    assert done["bytes"] == file.stat().st_size
    again = polyhead("export", two, 2)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert polyhead("export", two, 2, "--overwrite").one["bytes"] < done["bytes"]  # without rows
    assert not list(tmp_path.glob("*.part"))

    copy = f"{two}-copy"
    piped = subprocess.run(
        [*COMMAND, "export", two, "-o", "-"],
        env=environment(tmp_path, POLYHEAD_URL=service.url),
        capture_output=True,
        check=True,
    ).stdout
    first = polyhead("import", "-", "--task", copy, stdin=piped).one
    assert first == {"task": copy, "version": 1, "active": True}
    second = polyhead("import", file, "--task", copy)
    assert second.one["active"] is False
    assert f"`polyhead promote {copy} 2`" in second.err
    assert polyhead("import", file, "--task", copy, "--promote").one["active"] is True
    damaged = polyhead("import", "-", "--task", copy, stdin="no head")
    assert (damaged.status, len(damaged.err.splitlines())) == (4, 1)
    assert polyhead("import", "missing.safetensors", "--task", copy).status == 2
    assert polyhead("delete", copy, "--all", "--yes").one == {"task": copy, "version": None}


def test_delete_asks_first(polyhead: Polyhead, two: str, service: ServiceProcess) -> None:
    for arguments in ((two,), (two, 2, "--all", "--yes"), (two, 2), (two, "--all")):
        ran = polyhead("delete", *arguments)
        assert (ran.status, ran.out) == (2, ""), ran
    assert polyhead("delete", two, 1, "--yes").status == 4  # the active one
    assert polyhead("delete", two, 2, "--yes").one == {"task": two, "version": 2}
    assert [one["version"] for one in polyhead("versions", two).lines] == [1]
    assert polyhead("delete", "no-such-task", "--all", "--yes").status == 4


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("answer", "status", "left"), [(b"n\n", 1, [1, 2]), (b"y\n", 0, [1])])
def test_delete_on_a_terminal(
    polyhead: Polyhead,
    two: str,
    tmp_path: Path,
    service: ServiceProcess,
    answer: bytes,
    status: int,
    left: list[int],
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "delete", two, "2"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(tmp_path, POLYHEAD_URL=service.url),
    )
    os.close(theirs)
    said = b""
    while b"for good?" not in said:
        assert select.select([ours], [], [], 60)[0], said
        said += os.read(ours, 1024)
    os.write(ours, answer)
    assert process.wait(timeout=60) == status
    os.close(ours)
    assert [one["version"] for one in polyhead("versions", two).lines] == left


def test_the_shell_completes_versions(polyhead: Polyhead, two: str) -> None:
    line = f"polyhead promote {two} "
    ran = polyhead(_POLYHEAD_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD="3")
    assert ran.out.split() == ["1", "2"]
    ran = polyhead(
        _POLYHEAD_COMPLETE="complete_bash", COMP_WORDS="polyhead shadow st", COMP_CWORD="2"
    )
    assert ran.out.split() == ["start", "stop"]
