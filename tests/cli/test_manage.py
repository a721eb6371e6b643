"""Training, versions, logging in, errors and exit codes, completion."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from polyhead import Client

from tests.api.test_tasks import rows
from tests.cli.conftest import Polyhead, environment
from tests.conftest import ROOT, ServiceProcess


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Eighty labelled texts."""
    file = tmp_path / "data.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["body", "topic"])
        writer.writerows((row["text"], row["label"]) for row in rows(80, seed=911))
    return file


def test_the_life_of_a_task(
    polyhead: Polyhead, task: str, labelled: Path, tmp_path: Path, service: ServiceProcess
) -> None:
    columns = ("--text-column", "body", "--label-column", "topic")
    trained = polyhead("train", labelled, "--task", task, *columns, "--balanced")
    assert trained.status == 0, trained.err
    assert trained.one["job"]["version"] == trained.one["active_version"] == 1
    assert trained.one["job"]["report"]["accuracy"] > 0.8

    second = polyhead("train", labelled, "--task", task, *columns, "--head", "mlp")
    assert second.one["active_version"] == 1
    assert f"`polyhead promote {task} 2`" in second.err
    listed = polyhead("versions", task).lines
    assert [(one["version"], one["head"], one["active"]) for one in listed] == [
        (1, "linear", True),
        (2, "mlp", False),
    ]

    known = polyhead("drift", task).one
    assert (known["task"], known["drift"], known["training_rows"] > 40) == (task, None, True)
    assert task in {one["task"] for one in polyhead("drift").lines}
    shown = polyhead("drift", task, "--format", "table").out
    assert "live texts" in shown
    assert task in shown  # narrow as it is, no name is cut

    assert polyhead("promote", task).one == {"task": task, "active_version": 2, "before": 1}
    assert polyhead("rollback", task).one == {"task": task, "active_version": 1, "before": 2}
    nothing = polyhead("rollback", task)
    assert (nothing.status, nothing.out) == (4, "")
    assert polyhead("rollback", task, 1).status == 0
    assert polyhead("promote", task, 9).status == 4

    out = tmp_path / "answers.jsonl"
    with Client(service.url) as client:
        done = polyhead("backfill", task, out, "--version", 2, "-t", "sentiment").one
        assert done["encoded"] == 0
        assert done["texts"] == len(out.read_text().splitlines()) > 0
        answer = json.loads(out.read_text().splitlines()[0])
        assert answer["predictions"].keys() == {task, "sentiment"}
        assert answer["predictions"][task]["version"] == 2

        found = {one["name"]: one for one in polyhead("tasks").lines}
        assert found[task]["active_version"] == 1
        client.tasks.delete(task)


def test_a_training_that_fails_or_need_not_be_waited_for(
    polyhead: Polyhead, task: str, labelled: Path, tmp_path: Path, service: ServiceProcess
) -> None:
    one_label = tmp_path / "one.csv"
    one_label.write_text("text,label\n" + "a text,same\n" * 30)
    failed = polyhead("train", one_label, "--task", task)
    assert failed.status in (1, 4), failed
    assert failed.err.startswith("polyhead: ")
    assert len(failed.err.splitlines()) == 1
    columns = ("--text-column", "body", "--label-column", "topic")
    queued = polyhead("train", labelled, "--task", task, *columns, "--no-wait").one
    with Client(service.url) as client:
        client.jobs.wait(queued["job"]["id"])
        client.tasks.delete(task)


def test_stats(polyhead: Polyhead) -> None:
    found = polyhead("stats").one
    assert found["cache"]["up"] is True
    assert found["info"]["encoder"]["bits"] == 1536


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["no-such-command"], 2),
        (["predict", "hello", "--no-such-option"], 2),
        (["predict", "hello", "--tasks", ","], 2),
        (["predict", "hello", "--tasks", "no-such-task"], 4),
        (["versions", "no-such-task"], 4),
        (["train", "missing.csv", "--task", "x"], 2),
        (["train", "data.txt", "--task", "x"], 2),
        (["--url", "http://127.0.0.1:9", "predict", "hello"], 3),
        (["--url", "not a url", "tasks"], 2),
        (["bulk", "missing.parquet", "out.parquet"], 2),
        (["backfill", "sentiment", "no/such/folder/out.jsonl"], 2),
    ],
)
def test_errors_are_one_line_with_a_documented_code(
    polyhead: Polyhead, arguments: list[str], status: int
) -> None:
    ran = polyhead(*arguments)
    assert ran.status == status, ran
    assert ran.out == ""
    assert ran.err.startswith("polyhead: ")
    assert len(ran.err.splitlines()) == 1


def test_help_and_version(polyhead: Polyhead) -> None:
    assert polyhead("--version").out.startswith("polyhead 0.")
    helped = polyhead("--help")
    assert helped.status == 0
    for command in ("predict", "bulk", "login", "rollback"):
        assert command in helped.out
    assert polyhead().status == 2


def test_login_keeps_the_key_to_its_owner_and_its_service(
    polyhead: Polyhead,
    processes: Callable[..., ServiceProcess],
    tmp_path: Path,
    service: ServiceProcess,
) -> None:
    guarded = processes(
        "all", tmp_path / "guarded", POLYHEAD_API_KEYS="predict:abcdefgh,manage:ijklmnop"
    )
    no_url = {"POLYHEAD_URL": ""}
    wrong = polyhead("login", guarded.url, stdin="wrong\n", **no_url)
    assert wrong.status == 5
    none = polyhead("login", guarded.url, **no_url)
    assert none.status == 5
    assert "needs a key" in none.err
    assert not list(tmp_path.rglob("login.json"))

    assert polyhead("login", guarded.url, stdin="abcdefgh\n", **no_url).status == 0
    (file,) = tmp_path.rglob("login.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert polyhead("predict", "a text", "-t", "sentiment", **no_url).status == 0
    refused = polyhead("promote", "sentiment", 1, **no_url)
    assert refused.status == 5
    assert "login" in refused.err
    assert polyhead("promote", "sentiment", 1, **no_url, POLYHEAD_API_KEY="ijklmnop").status == 0
    # The key of one service goes to no other.
    assert polyhead("--url", guarded.url, "tasks", POLYHEAD_URL="").status == 0
    assert polyhead("--url", f"{guarded.url}/", "tasks", POLYHEAD_URL="").status == 0
    seen = polyhead("--url", f"http://localhost:{guarded.port}", "tasks", POLYHEAD_URL="")
    assert seen.status == 5

    file.chmod(0o644)
    shared = polyhead("tasks", **no_url)
    assert shared.status == 2
    assert "chmod 600" in shared.err
    file.chmod(0o600)
    file.write_text("{")
    assert "damaged" in polyhead("tasks", **no_url).err
    assert polyhead("logout").status == 0
    assert not file.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(polyhead: Polyhead, shell: str) -> None:
    shown = polyhead(_POLYHEAD_COMPLETE=f"source_{shell}")
    assert shown.status == 0
    assert "polyhead" in shown.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_the_script(
    polyhead: Polyhead, service: ServiceProcess, tmp_path: Path
) -> None:
    folder = Path(sys.executable).parent
    if not (folder / "polyhead").exists():
        pytest.skip("the command is not installed beside this Python")
    script = tmp_path / "completion.sh"
    script.write_text(polyhead(_POLYHEAD_COMPLETE="source_bash").out)
    code = (
        f"source {script}; COMP_WORDS=(polyhead versions sentim); COMP_CWORD=2; "
        '_polyhead_completion polyhead; echo "${COMPREPLY[@]}"'
    )
    more = {"POLYHEAD_URL": service.url, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", code],
        env=environment(tmp_path, **more),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["sentiment"]


def test_the_shell_completes_commands_and_tasks(polyhead: Polyhead) -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        ran = polyhead(
            _POLYHEAD_COMPLETE="complete_bash",
            COMP_WORDS=line,
            COMP_CWORD=str(len(words) - 1),
        )
        return ran.out.split()

    assert "rollback" in completed("polyhead ro")
    assert completed("polyhead versions sentim") == ["sentiment"]
    assert "sentiment,abuse" in completed("polyhead predict -t sentiment,ab")


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom polyhead.__main__ import main\nmain()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "sdk", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr == ("polyhead: the command line needs typer: pip install 'polyhead[cli]'\n")
