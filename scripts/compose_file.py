"""Reading docker-compose.yml and the Dockerfile, as far as a start without an engine needs.

Pure: text in, values out. A test holds it equal to what `docker compose config` makes of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:[-?])([^}]*))?\})")


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is started from.

    Attributes:
        name: its name, which resolves to all of its replicas.
        image: what it is started from.
        target: the Dockerfile's stage that builds the image; empty for images of others.
        command: entrypoint and command; empty where the image's own are used.
        environment: its variables.
        files: path inside to path beside the compose file, of what is mounted.
        volumes: path inside to name of the volume.
        tmpfs: paths inside.
        replicas: how many of it.
        needs: the services that come before it.
        stop_signal: what ends it in peace.
        grace_s: how long it is waited for then.
    """

    name: str
    image: str
    target: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    volumes: Mapping[str, str]
    tmpfs: tuple[str, ...]
    replicas: int
    needs: tuple[str, ...]
    stop_signal: str
    grace_s: float


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}`, `${NAME:?what is missing}` and `$$`, as compose reads them.

    Raises:
        ValueError: a variable that has to be set is not.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if name is None:
            return "$"
        if found := variables.get(name):
            return found
        if operator == ":?":
            raise ValueError(f"{name} is missing: {rest}")
        return rest or ""

    return VARIABLE.sub(value, text)


def read_compose(text: str, variables: Mapping[str, str]) -> dict[str, Service]:
    """The services of a compose file's text, in the order in which they can be started.

    Raises:
        ValueError: a variable that has to be set is not.
    """
    document = _filled(yaml.safe_load(text), variables)
    services = {name: _service(name, found) for name, found in document["services"].items()}
    ordered: dict[str, Service] = {}
    while len(ordered) < len(services):
        ready = [s for s in services.values() if ordered.keys() >= {*s.needs}]
        fresh = {s.name: s for s in ready if s.name not in ordered}
        if not fresh:
            raise ValueError(f"services that wait for each other: {services.keys() - ordered}")
        ordered |= fresh
    return ordered


def stage_environment(dockerfile: str, target: str) -> dict[str, str]:
    """The variables that an image of the Dockerfile sets, those of the stages below it included."""
    stages: dict[str, tuple[str, str]] = {}
    parts = re.split(r"^FROM (\S+) AS (\S+)$", dockerfile, flags=re.MULTILINE)
    for base, name, text in zip(*[iter(parts[1:])] * 3, strict=True):
        stages[name] = (base, text.replace("\\\n", " "))
    found: dict[str, str] = {}
    while target in stages:
        target, text = stages[target]
        for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE):
            for name, value in re.findall(r"(\w+)=(\S+)", line):
                found.setdefault(name, value)
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return interpolate(value, variables)
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    if isinstance(value, dict):
        return {name: _filled(one, variables) for name, one in value.items()}
    return value


def _service(name: str, found: Mapping[str, Any]) -> Service:
    files: dict[str, str] = {}
    volumes: dict[str, str] = {}
    for mount in found.get("volumes", ()):
        source, inside = mount.split(":")[:2]
        (files if source.startswith(".") else volumes)[inside] = source
    environment = found.get("environment", {})
    return Service(
        name=name,
        image=found["image"],
        target=found.get("build", {}).get("target", ""),
        command=(*found.get("entrypoint", ()), *found.get("command", ())),
        environment={key: str(value) for key, value in environment.items()},
        files=files,
        volumes=volumes,
        tmpfs=tuple(mount.partition(":")[0] for mount in found.get("tmpfs", ())),
        replicas=found.get("deploy", {}).get("replicas", 1),
        needs=tuple(found.get("depends_on", ())),
        stop_signal=found.get("stop_signal", "SIGTERM"),
        grace_s=float(found.get("stop_grace_period", "10s").removesuffix("s")),
    )
