"""Results by task in a JSONL file: what is in it need not be done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TaskResults:
    """One line a task, each with the settings that it was made with.

    Args:
        path: of the file; it need not exist.
        settings: JSON-ready; those of the lines already there must be the same.

    Raises:
        ValueError: the file holds results of other settings, or is damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(dict(settings)))
        self.lines: dict[str, dict[str, Any]] = {}
        self._read()

    def __contains__(self, task: str) -> bool:
        return task in self.lines

    def add(self, task: str, result: Mapping[str, Any]) -> None:
        """Append one task's line."""
        line = {"task": task, **result, "settings": self.settings}
        text = json.dumps(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(text + "\n")
        self.lines[task] = json.loads(text)

    def _read(self) -> None:
        if not self.path.is_file():
            return
        text = self.path.read_text()
        # Whoever was stopped in the middle of a line has not done that task.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole)
        for line in read_lines(self.path):
            if line.get("settings") != self.settings:
                raise ValueError(
                    f"{self.path} was made with {line.get('settings')}, not {self.settings}: "
                    "name another folder"
                )
            self.lines[line["task"]] = line


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file.

    Raises:
        ValueError: a line is no result.
    """
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if not isinstance(line, dict) or "task" not in line:
            raise ValueError(f"{path}, line {number}: no task")
        lines.append(line)
    return lines


def mean_accuracies(files: Mapping[str, Path]) -> tuple[dict[str, float], int]:
    """Mean test accuracy by name, over the tasks that all files have, and how many these are.

    Raises:
        ValueError: there is no such task.
    """
    found = {
        name: {line["task"]: float(line["test_accuracy"]) for line in read_lines(path)}
        for name, path in files.items()
    }
    common = set.intersection(*(set(one) for one in found.values())) if found else set()
    if not common:
        raise ValueError(f"no task is in all of {', '.join(map(str, files.values()))}")
    means = {name: sum(one[task] for task in common) / len(common) for name, one in found.items()}
    return means, len(common)
