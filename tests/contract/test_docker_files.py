"""The Dockerfile and the compose files keep their promises. Building them is docker/smoke.sh's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker/compose.gpu.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ["encoder", "api"]
every_service = pytest.mark.parametrize("name", list(SERVICES))
each_of_ours = pytest.mark.parametrize("name", OURS)


def stages() -> dict[str, str]:
    """Text of each build stage."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return {
        name: f"FROM {base}\n{text}"
        for base, name, text in zip(*[iter(parts[1:])] * 3, strict=True)
    }


def redis_settings() -> dict[str, str]:
    lines = (ROOT / "docker/redis.conf").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def megabytes(size: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(mb?|gb?)", size).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit[0] == "g" else 1)


@every_service
def test_a_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    uid, _, gid = service["user"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")


@every_service
def test_a_start_is_gated_by_health(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    needs = {
        "redis": set(),
        "encoder": {"redis"},
        "api": {"redis", "encoder"},
        "proxy": {"api"},
        "prometheus": set(),
        "grafana": {"prometheus"},
    }[name]
    gates = service.get("depends_on", {})
    assert set(gates) == needs
    assert all(gate == {"condition": "service_healthy"} for gate in gates.values())


def test_the_proxy_and_grafana_are_published_and_that_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "proxy": ["${POLYHEAD_BIND:-127.0.0.1}:${POLYHEAD_PORT:-8080}:8080"],
        "grafana": ["${GRAFANA_BIND:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000"],
    }
    assert {name for name, s in SERVICES.items() if s["networks"] != ["inside"]} == set(published)
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_what_can_be_scaled_has_neither_a_name_nor_a_port_of_the_host() -> None:
    for name in OURS:
        assert not SERVICES[name].keys() & {"container_name", "ports", "hostname"}
    assert SERVICES["api"]["deploy"]["replicas"] == 2


def test_an_api_drains_for_longer_than_the_proxy_looks_away_and_ends_in_time() -> None:
    checks = re.search(r"inter (\d+)s .*fall (\d+)", (ROOT / "docker/haproxy.cfg").read_text())
    assert checks is not None
    drain = float(SERVICES["api"]["environment"]["POLYHEAD_DRAIN_S"])
    assert drain >= 2 * int(checks[1])
    answering = 20  # uvicorn's timeout_graceful_shutdown, app/__main__.py
    assert drain + answering < float(SERVICES["api"]["stop_grace_period"].removesuffix("s"))


def test_images_of_others_are_pinned_by_tag_and_digest() -> None:
    for name, service in SERVICES.items():
        if name not in OURS:
            assert re.fullmatch(
                r"\$\{\w+:-docker\.io/[\w/]+:v?\d+\.\d+\.\d+[\w-]*@sha256:[0-9a-f]{64}\}",
                service["image"],
            ), name


def test_prometheus_scrapes_every_replica_by_the_port_that_it_listens_on() -> None:
    jobs = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())["scrape_configs"]
    found = {j["job_name"]: (d["names"], d["port"]) for j in jobs for d in j["dns_sd_configs"]}
    ports = {name: int(re.search(r"POLYHEAD_PORT=(\d+)", stages()[name])[1]) for name in OURS}  # type: ignore[index]
    assert found == {
        "api": (["api"], ports["api"]),
        "encoder": (["encoder"], ports["encoder"]),
        "proxy": (["proxy"], 8405),
    }


def test_what_is_kept_is_in_named_volumes() -> None:
    kept = {
        name: [v for v in s.get("volumes", []) if not v.startswith(".")]
        for name, s in SERVICES.items()
    }
    assert {name: volumes for name, volumes in kept.items() if volumes} == {
        "redis": ["cache:/data"],
        "api": ["data:/data"],
        "prometheus": ["figures:/prometheus"],
    }
    assert set(COMPOSE["volumes"]) == {"cache", "data", "figures"}


def test_the_redis_has_a_limit_below_its_container_and_evicts_any_key() -> None:
    settings = redis_settings()
    # A rewrite of the append-only file forks: copied pages come on top of maxmemory.
    assert 2 * megabytes(settings["maxmemory"]) <= megabytes(SERVICES["redis"]["mem_limit"])
    assert settings["maxmemory-policy"] == "allkeys-lru"
    assert settings["appendonly"] == "yes"


def test_a_missing_key_is_an_error_with_a_message() -> None:
    for service, variable in [
        ("api", "POLYHEAD_API_KEYS"),
        ("api", "POLYHEAD_ENCODER_KEY"),
        ("encoder", "POLYHEAD_API_KEYS"),
        ("prometheus", "METRICS_KEY"),
    ]:
        assert re.search(
            r"\$\{POLYHEAD_\w+:\?\w[^}]{10,}\}", SERVICES[service]["environment"][variable]
        )


@each_of_ours
def test_compose_sets_only_settings_that_exist(name: str) -> None:
    """A misspelt variable would be ignored in silence."""
    known = {f"POLYHEAD_{field.upper()}" for field in Settings.model_fields} | {"REDIS_URL"}
    override = GPU["services"].get(name, {}).get("environment", {})
    in_image = re.findall(r"POLYHEAD_[A-Z_]+(?==)", DOCKERFILE)
    used = {*SERVICES[name]["environment"], *override, *in_image} - {"NVIDIA_DRIVER_CAPABILITIES"}
    assert used <= known


@each_of_ours
def test_an_image_is_the_target_that_compose_builds(name: str) -> None:
    assert SERVICES[name]["build"]["target"] == name
    stage = stages()[name]
    assert stage.startswith("FROM runtime\n")
    assert f"POLYHEAD_ROLE={name}" in stage
    assert "HEALTHCHECK" in stage
    assert "org.opencontainers.image.version" in stage
    assert "USER" not in stage  # it stays the runtime's
    uid = re.search(r"^USER (\S+)$", stages()["runtime"], re.MULTILINE)
    assert uid is not None
    assert uid[1] == SERVICES[name]["user"]


def built_from(target: str) -> set[str]:
    """The stages that a target needs."""
    texts = stages()
    pending, seen = [target], set()
    while pending:
        stage = pending.pop()
        if stage in texts and stage not in seen:
            seen.add(stage)
            pending += re.findall(r"(?:^FROM |--from=)(\S+)", texts[stage], re.MULTILINE)
    return seen


def test_the_api_is_built_without_the_encoder_s_packages() -> None:
    seen = built_from("api")
    assert {"api-venv", "api-packages", "source"} <= seen
    assert not {name for name in seen if name.startswith(("encoder", "cuda"))}


def test_only_the_gpu_s_encoder_is_built_with_torch() -> None:
    assert not {name for name in built_from("encoder") if name.startswith("cuda")}
    assert "cuda-packages" in built_from("encoder-cuda")
    assert GPU["services"]["encoder"]["build"]["target"] == "encoder-cuda"


def test_the_labels_tell_the_project_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [version] * 3


def test_the_gpu_override_changes_the_encoder_alone() -> None:
    assert list(GPU["services"]) == ["encoder"]
    encoder = GPU["services"]["encoder"]
    (device,) = encoder["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert encoder["environment"]["POLYHEAD_DEVICE"] == "cuda"
    assert encoder["image"] != SERVICES["encoder"]["image"]


def test_no_secret_and_no_index_is_written_down() -> None:
    files = [
        "Dockerfile",
        "docker-compose.yml",
        *(str(f.relative_to(ROOT)) for f in (ROOT / "docker").rglob("*") if f.is_file()),
    ]
    for file in files:
        text = (ROOT / file).read_text()
        assert not re.search(r"(index-url|INDEX_URL)[=: ]+https?://", text), file
        assert not re.search(r"(predict|manage):(?!\$|KEY|\.\.\.)[\w-]{8,}", text), file
        assert not re.search(r"(?i)(password|requirepass|token)\s*[=:]\s*[\w-]{4,}", text), file


def test_the_build_context_lets_in_nothing_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line[1:] for line in rules if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    assert allowed == {path for sources in copied for path in sources.split()}
