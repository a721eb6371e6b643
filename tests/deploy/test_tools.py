"""The files of the deployment, read by the tools that they are for. None of it needs a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {
    "POLYHEAD_API_KEYS": "predict:first-key,manage:second-key",
    "POLYHEAD_ENCODER_KEY": "third-key",
    "POLYHEAD_METRICS_KEY": "fourth-key",
}
DASHBOARD = ROOT / "docker" / "grafana" / "polyhead.json"


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name  # of the extra `deploy`
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
    )


def composed(*files: str) -> dict[str, Any]:
    """What `docker compose config` makes of files. It checks them against the Compose schema."""
    named = [word for file in files for word in ("-f", file)]
    done = run(tool("docker-compose"), *named, "config", "--format", "json", **KEYS)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run(tool("hadolint"), "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /x && sudo make\n")
    assert run(tool("hadolint"), str(tmp_path / "Dockerfile")).returncode != 0


def test_compose_accepts_the_file() -> None:
    services = composed("docker-compose.yml")["services"]
    assert set(services) == {
        *("redis", "encoder", "api", "proxy", "prometheus", "grafana"),
    }


def test_compose_refuses_a_field_that_its_schema_lacks(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("services: {api: {image: x, read_onyl: true}}\n")
    done = run(tool("docker-compose"), "-f", str(wrong), "config", "-q")
    assert done.returncode != 0
    assert "read_onyl" in done.stderr


def test_compose_without_a_key_says_which() -> None:
    for missing in KEYS:
        rest = {name: value for name, value in KEYS.items() if name != missing}
        done = run(tool("docker-compose"), "config", "-q", **rest)
        assert done.returncode != 0
        assert missing in done.stderr


def test_compose_with_a_gpu_changes_the_encoder_alone() -> None:
    plain = composed("docker-compose.yml")["services"]
    gpu = composed("docker-compose.yml", "docker/compose.gpu.yml")["services"]
    assert [name for name in plain if plain[name] != gpu[name]] == ["encoder"]
    assert gpu["encoder"]["environment"]["POLYHEAD_DEVICE"] == "cuda"
    assert gpu["encoder"]["healthcheck"] == plain["encoder"]["healthcheck"]
    assert gpu["encoder"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_what_is_started_without_an_engine_is_what_compose_reads() -> None:
    """`scripts.compose_file` against Docker Compose itself."""
    pytest.importorskip("yaml")
    from scripts.compose_file import read_compose

    ours = read_compose((ROOT / "docker-compose.yml").read_text(), KEYS)
    theirs = composed("docker-compose.yml")["services"]
    assert set(ours) == set(theirs)
    for name, service in ours.items():
        other = theirs[name]
        # What `config` writes can be read again by compose: every $ is doubled.
        command = [*(other.get("entrypoint") or []), *(other.get("command") or [])]
        assert list(service.command) == [word.replace("$$", "$") for word in command]
        assert service.environment == {
            key: str(value or "") for key, value in (other.get("environment") or {}).items()
        }
        assert service.image == other["image"]
        assert service.replicas == (other.get("deploy") or {}).get("replicas", 1)
        assert set(service.needs) == set(other.get("depends_on") or {})
        mounts = {mount["target"]: mount["source"] for mount in other.get("volumes") or []}
        assert {p: str(ROOT / f) for p, f in service.files.items()} | dict(
            service.volumes
        ) == mounts


def test_haproxy_accepts_its_configuration() -> None:
    done = run(tool("haproxy"), "-c", "-f", "docker/haproxy.cfg", PROXY_BIND="")
    assert done.returncode == 0, done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_prometheus_accepts_its_configuration_and_rules(tmp_path: Path) -> None:
    promtool = tool("promtool")
    text = (ROOT / "docker" / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(
        # In this order: the checkout may itself lie under a folder of that name.
        text.replace("/tmp/", f"{tmp_path}/").replace("/etc/prometheus/", f"{ROOT}/docker/")
    )
    (tmp_path / "metrics-key").write_text("key")
    done = run(promtool, "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stderr


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    done = run(tool("promtool"), "test", "rules", "tests/deploy/rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = set(re.findall(r"alert: (\w+)", (ROOT / "docker" / "rules.yml").read_text()))
    tested = set(
        re.findall(r'alertname="(\w+)"', Path(ROOT, "tests/deploy/rules.test.yml").read_text())
    )
    assert alerts == tested


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where a document is no longer what it was."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name in after:
                yield from lost(value, after[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif before != after:
        yield path


def test_the_dashboard_is_of_grafana_s_schema() -> None:
    """Through Grafana's own types, made from its schemas: what they do not know would be lost."""
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk (extra `deploy`)")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    document = json.loads(DASHBOARD.read_text())

    def again(found: dict[str, Any]) -> Any:
        return json.loads(JSONEncoder().encode(Dashboard.from_json(found)))

    assert list(lost(document, again(document))) == []
    document["panels"][1]["tpye"] = "stat"
    assert list(lost(document, again(document))) == ["/panels/1/tpye"]


def test_the_dashboard_s_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
