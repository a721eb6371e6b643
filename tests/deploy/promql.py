"""What the dashboard and the rules ask Prometheus for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from promql_parser import VectorSelector, parse, walk

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker" / "grafana" / "polyhead.json"
RULES = ROOT / "docker" / "rules.yml"


def dashboard_queries() -> dict[str, list[str]]:
    """By panel, with Grafana's variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['id']} {panel['title']}": [
            target["expr"].replace("$__rate_interval", "1m") for target in panel["targets"]
        ]
        for panel in panels
        if panel["type"] != "row"
    }


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> set[str]:
    """Metrics that Prometheus makes by itself, from rules and of what it scrapes."""
    return {rule["record"] for rule in rules() if "record" in rule} | {"ALERTS", "up"}


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The metrics that an expression names, with their matchers' values by label."""
    found: list[tuple[str, dict[str, str]]] = []

    def note(node: Any) -> bool:
        if isinstance(node, VectorSelector):
            matchers = node.matchers.matchers
            found.append((node.name or "", {one.name: one.value for one in matchers}))
        return True

    walk(parse(expression), note)
    yield from found
