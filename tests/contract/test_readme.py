"""The code blocks of the documentation run, in order, against a real service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ServiceProcess

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"(<!-- not run: .*? -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
PAGES = [
    "README.md",
    "docs/tutorials/first-task.md",
    "docs/tutorials/few-examples.md",
    "docs/tutorials/several-labels.md",
    "docs/tutorials/versions.md",
    "docs/tutorials/similar.md",
    "docs/tutorials/command-line.md",
    "docs/tutorials/moderating-a-stream.md",
    "docs/tutorials/from-separate-models.md",
    "docs/tutorials/other-clients.md",
]


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and code of each block, but for those that say why they are not run."""
    return [
        (language, code)
        for skipped, language, code in BLOCK.findall((ROOT / page).read_text())
        if not skipped and language in ("bash", "python")
    ]


def environment(home: Path, service: ServiceProcess) -> dict[str, str]:
    """With the `polyhead` beside this Python, and no login of whoever runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": path,
        "XDG_CONFIG_HOME": str(home),
        "POLYHEAD_URL": service.url,
    }


# What pages need beyond the service's own packages.
NEEDS = {
    "docs/tutorials/similar.md": ("typer",),
    "docs/tutorials/command-line.md": ("typer", "pyarrow"),
    "docs/tutorials/moderating-a-stream.md": ("typer",),
    "docs/tutorials/from-separate-models.md": ("typer", "sklearn"),
    "docs/tutorials/other-clients.md": ("openai", "langchain_openai", "cohere", "pandas", "polars"),
}


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(
    page: str,
    processes: Callable[..., ServiceProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package)
    service = processes("all", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    names: dict[str, object] = {}
    found = blocks(page)
    assert found
    for language, code in found:
        code = code.replace("http://127.0.0.1:8080", service.url)
        if language == "python":
            exec(compile(code, page, "exec"), names)
            continue
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            capture_output=True,
            text=True,
            env=environment(tmp_path, service),
            check=False,
        )
        assert run.returncode == 0, (code, run.stderr)
        if "curl" in code and run.stdout.startswith("{"):
            for line in run.stdout.strip().splitlines():
                assert not json.loads(line).get("error"), (code, line)
