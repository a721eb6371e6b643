"""Every query of the dashboard and of the rules asks for what there is: on the running topology."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

pytest.importorskip("promql_parser", reason="promql-parser is not installed (extra `deploy`)")

from benchmarks.processes import wait_for
from scripts.topology import Topology
from tests.deploy.conftest import Callers
from tests.deploy.promql import dashboard_queries, recorded, rules, selectors

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
}
ALL_QUERIES = {
    **dashboard_queries(),
    **{rule.get("alert", rule.get("record", "")): [rule["expr"]] for rule in rules()},
}
# What has nothing to show while all is well, or where no task has a shadow.
MAY_BE_EMPTY = ("Cache failures", "Errors by reason", "Shadows that disagree", "Ejections")


def exposed(text: str, suffixes: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Names of the samples that an exposition can have, and the labels that they have now.

    A labelled metric without a sample yet is there by its type alone.
    """
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in suffixes.get(family.type, ("",)):
            found.setdefault(family.name + suffix, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def figures(topology: Topology) -> dict[str, dict[str, set[str]]]:
    """By Prometheus' job, what its processes expose after some traffic."""
    callers = Callers(topology)
    with callers.asking():
        callers.wait_for(200)
    with callers.client() as client:
        client.post("/v1/predict", json={"inputs": ""})  # an error
    key = {"authorization": f"Bearer {topology.keys['predict']}"}
    metrics_key = {
        "authorization": "Bearer "
        + topology.replicas["encoder"][0].environment["POLYHEAD_API_KEYS"].rpartition("predict:")[2]
    }
    proxy = f"http://{topology.replicas['proxy'][0].address}:8405"
    sources = {
        "api": (topology.replicas["api"][0].url, key),
        "encoder": (topology.replicas["encoder"][0].url, metrics_key),
        "proxy": (proxy, {}),
    }
    found = {}
    for job, (url, headers) in sources.items():
        answer = httpx.get(url + "/metrics", headers=headers, trust_env=False)
        assert answer.status_code == 200, job
        found[job] = exposed(answer.text, SUFFIXES)
    return found


@pytest.fixture(scope="module")
def prometheus(
    topology: Topology, figures: dict[str, dict[str, set[str]]]
) -> Iterator[httpx.Client]:
    """The topology's, while there is traffic."""
    if not topology.replicas["prometheus"]:
        pytest.skip("Prometheus is not installed")
    url = topology.replicas["prometheus"][0].url
    callers = Callers(topology)
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as client, callers.asking():
        yield client


@pytest.mark.parametrize("name", list(ALL_QUERIES))
def test_a_query_names_metrics_that_exist(
    name: str, figures: dict[str, dict[str, set[str]]]
) -> None:
    everywhere = {metric for found in figures.values() for metric in found}
    for expression in ALL_QUERIES[name]:
        named = list(selectors(expression))
        assert named, expression
        for metric, matchers in named:
            if metric in recorded():
                continue
            job = matchers.get("job")
            here = set(figures[job]) if job else everywhere
            assert metric in here, f"{metric} is not exposed by {job or 'anything'}"
            labels = {label for found in figures.values() for label in found.get(metric, ())}
            if labels:
                assert matchers.keys() <= labels | {"job", "instance"}, expression


def test_a_name_that_does_not_exist_would_be_found(figures: dict[str, dict[str, set[str]]]) -> None:
    assert "polyhead_cache_hits_total" in figures["api"]
    assert "polyhead_cache_hit_total" not in figures["api"]
    assert "polyhead_task_drift" in figures["api"]  # a gauge without a sample counts as well


def test_prometheus_reads_every_replica(topology: Topology, prometheus: httpx.Client) -> None:
    count = {"api": 2, "encoder": 2, "proxy": 1}

    def up() -> dict[str, int]:
        answer = prometheus.get("/api/v1/query", params={"query": "sum by (job) (up)"}).json()
        return {one["metric"]["job"]: int(one["value"][1]) for one in answer["data"]["result"]}

    wait_for(lambda: up() == count, 30, f"{count} that are up")


def test_prometheus_answers_every_query(prometheus: httpx.Client) -> None:
    """A rate needs two readings of each replica; Prometheus begins them at moments of its own."""
    wait_for(lambda: not unexpectedly_empty(prometheus), 40, "an answer to every query")


def unexpectedly_empty(prometheus: httpx.Client) -> list[tuple[str, str]]:
    """Queries without a result that have something to show while all is well."""
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    empty = []
    for name, expressions in ALL_QUERIES.items():
        for expression in expressions:
            answer: dict[str, Any] = prometheus.get(
                "/api/v1/query", params={"query": expression.replace("[1m]", "[15s]")}
            ).json()
            assert answer["status"] == "success", (expression, answer)
            # Drift is of 30 different texts and more, and needs a task trained here.
            may_be = name in alerts or any(part in name for part in (*MAY_BE_EMPTY, "Drift"))
            if not answer["data"]["result"] and not may_be:
                empty.append((name, expression))
    if empty:
        print("empty:", *empty, sep="\n  ")
    return empty


def test_prometheus_has_the_rules_and_none_fails(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in found} == {
        rule.get("alert") or rule["record"] for rule in rules()
    }
    assert not [rule for rule in found if rule.get("lastError")]
