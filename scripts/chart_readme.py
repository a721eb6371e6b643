"""`python -m scripts.chart_readme`: the table of values in the chart's README, from values.yaml.

A line `# -- text` before a value is what the table says of it. A test holds the README to it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "charts" / "polyhead"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
_KEY = re.compile(r"^( *)([A-Za-z]\w*):")


def documented(text: str) -> dict[str, str]:
    """What is said of each value, by its dotted path."""
    said: dict[str, str] = {}
    path: list[str] = []
    comment = ""
    for line in text.splitlines():
        if line.strip().startswith("# -- "):
            comment = line.strip().removeprefix("# -- ")
            continue
        match = _KEY.match(line)
        if match:
            path = [*path[: len(match[1]) // 2], match[2]]
            if comment:
                said[".".join(path)] = comment
        comment = ""
    return said


def value_at(values: dict[str, Any], path: str) -> Any:
    """A value by its dotted path."""
    found: Any = values
    for part in path.split("."):
        found = found[part]
    return found


def table(text: str) -> str:
    """The values as a Markdown table."""
    values = yaml.safe_load(text)
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, meaning in documented(text).items():
        default = json.dumps(value_at(values, path))
        rows.append(f"| `{path}` | `{default}` | {meaning} |")
    return "\n".join(rows)


def with_table(readme: str, text: str) -> str:
    """The README with the table of these values."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(text)}\n{END}{after}"


def main() -> None:
    path = CHART / "README.md"
    text = (CHART / "values.yaml").read_text()
    path.write_text(with_table(path.read_text(), text))


if __name__ == "__main__":
    main()
