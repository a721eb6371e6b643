"""The faults of the table and of the soak, on a running topology: each begins one, and ends it."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from benchmarks import causes
from benchmarks.checked import Load, chunks
from benchmarks.processes import ServiceProcess, ValkeyProcess, wait_for
from benchmarks.topology import TASK, Served, Topology

Place = TypeVar("Place", bound=Served)
Cause = Callable[[Topology, Load], AbstractContextManager[None]]

STOP_LIMIT_S = 22.0  # the service gives what it took 20 s, then ends
HOUR_S = 3600
ACTIVATION_KILLS = 3


@dataclass(frozen=True, slots=True)
class Fault(Generic[Place]):
    """A row, for a service in a place of its kind.

    Attributes:
        name: what happens.
        cause: begins it, and ends it.
        hold_s: how long it lasts at least.
        lacking: why it cannot be brought about here; None if it can.
        with_clock: it needs processes whose clock can be set.
    """

    name: str
    cause: Callable[[Place, Load], AbstractContextManager[None]]
    hold_s: float = 4.0
    lacking: Callable[[Place], str | None] = lambda _: None
    with_clock: bool = False


def on_valkey(cause: Callable[[ValkeyProcess], AbstractContextManager[None]]) -> Cause:
    return lambda topology, _: cause(topology.valkey)


@contextmanager
def nothing(_: Served, __: Load) -> Iterator[None]:
    yield


@contextmanager
def redis_killed(topology: Topology, _: Load) -> Iterator[None]:
    topology.valkey.kill()
    try:
        yield
    finally:
        threading.Thread(target=topology.valkey.start).start()


@contextmanager
def redis_restarted(topology: Topology, _: Load) -> Iterator[None]:
    topology.valkey.stop()
    topology.valkey.start()
    yield


def redis_garbage(name: str) -> Cause:
    return lambda topology, _: causes.garbage(topology.proxy, causes.GARBAGE[name])


def killed(name: str) -> Cause:
    @contextmanager
    def cause(topology: Topology, _: Load) -> Iterator[None]:
        process = service(topology, name)
        process.kill()
        try:
            yield
        finally:
            process.start(wait=False)

    return cause


def terminated(name: str) -> Cause:
    """SIGTERM while large requests are in the queue, and texts of all kinds come in."""

    @contextmanager
    def cause(topology: Topology, load: Load) -> Iterator[None]:
        process = service(topology, name)
        topology.forget(topology.long)
        answered = load.burst(list(chunks(topology.long, 4)))
        time.sleep(0.3)
        began = time.monotonic()
        ended_s = end_by_signal(process)
        topology.check(ended_s is not None, f"{name} ended within {STOP_LIMIT_S:.0f} s of SIGTERM")
        topology.say(f"ended after {ended_s or STOP_LIMIT_S:.1f} s")
        answered()
        broken = [one for one in load.since(began) if one.outcome == "broken"]
        topology.check(not broken, f"{name} drops nothing at SIGTERM ({len(broken)} dropped)")
        try:
            yield
        finally:
            process.start(wait=False)

    return cause


def end_by_signal(process: ServiceProcess) -> float | None:
    """Seconds until the process ended by SIGTERM; None (and killed) if it did not."""
    assert process.process is not None
    began = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    try:
        process.process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return None
    return time.monotonic() - began


def encoder_frozen(topology: Topology, _: Load) -> AbstractContextManager[None]:
    return causes.frozen(topology.encoder)


@contextmanager
def encoder_out_of_memory(topology: Topology, load: Load) -> Iterator[None]:
    """No byte more than it has; then long texts. If it dies of that, it is started again."""
    encoder = topology.encoder
    assert encoder.process is not None
    topology.forget(topology.long)
    with causes.no_more_memory(encoder):
        answered = load.burst(list(chunks(topology.long, 8)))
        answered()
        yield
        status = encoder.process.poll()
    if status is not None:
        topology.say(f"it ended ({signal.Signals(-status).name if status < 0 else status})")
        encoder.start(wait=False)
    else:
        topology.say("it lived on")


@contextmanager
def api_killed_activating(topology: Topology, _: Load) -> Iterator[None]:
    """Versions 1 and 2 are made active in turn as fast as can be, and kill -9 comes in between."""
    chance = random.Random(1)
    api = topology.apis[0]
    for number in range(ACTIVATION_KILLS):
        activations = threading.Thread(target=activate_in_turn, args=(topology, api))
        activations.start()
        time.sleep(chance.uniform(0.1, 0.4))
        api.kill()
        activations.join()
        other = topology.active_version(topology.apis[1])
        topology.check(other in (1, 2), f"the other api has version {other}")
        if number + 1 < ACTIVATION_KILLS:
            api.start()
    try:
        yield
    finally:
        api.start()
        with suppress(TimeoutError):
            wait_for(lambda: len(set(topology.active_versions())) == 1, 5, "one view")
        versions = topology.active_versions()
        topology.check(versions[0] in (1, 2) and versions[0] == versions[1], f"versions {versions}")
        topology.say(f"{ACTIVATION_KILLS} kills; version {versions[0]} active in both")
        topology.check(topology.activate(api, 1) == 200, "activation works after the kill")


def activate_in_turn(topology: Topology, api: ServiceProcess) -> None:
    """Until the process is gone."""
    with suppress(httpx.TransportError):
        while True:
            for version in (2, 1):
                topology.activate(api, version)


@contextmanager
def disk_full(topology: Topology, _: Load) -> Iterator[None]:
    """While a version is written; what was written of it must be gone."""
    versions = topology.data / "tasks" / TASK / "versions"
    before = sorted(path.name for path in versions.iterdir())
    with causes.no_room_for_files(topology.apis[0]):
        job = topology.train("a version that has no room")
        error = (job.get("error") or {}).get("code")
        topology.say(f"the training: {job['status']}, {error}")
        topology.check(error == "storage_unavailable", f"the job says why: {error}")
        left = sorted(path.name for path in versions.iterdir())
        topology.check(left == before, f"no half of a version stays: {left}")
        yield


@contextmanager
def registry_read_only(topology: Topology, _: Load) -> Iterator[None]:
    with causes.read_only_folders(topology.data / "tasks"):
        api = topology.apis[0]
        statuses = {
            "making": api.http.put("/v1/tasks/another", json={}).status_code,
            "activating": topology.activate(api, 2),
        }
        topology.say(", ".join(f"{what} a task: {status}" for what, status in statuses.items()))
        topology.check(set(statuses.values()) == {503}, f"changes are refused: {statuses}")
        yield
    topology.check(topology.activate(api, 1) == 200, "activation works afterwards")


def clock_jump(seconds: int) -> Cause:
    """Of all processes. While it lasts a job is made, whose times are of the other clock."""

    @contextmanager
    def cause(topology: Topology, _: Load) -> Iterator[None]:
        assert topology.clock is not None
        with topology.clock.jumped(seconds):
            job = topology.train("while the clock is off", activate=False)
            topology.check(job["status"] == "succeeded", f"training: {job.get('error')}")
            off = job["created_at"] - time.time()
            topology.check(abs(off - seconds) < 60, f"the clock jumped ({off:.0f} s)")
            topology.delete(job["version"])
            yield

    return cause


def service(topology: Topology, name: str) -> ServiceProcess:
    return topology.encoder if name == "encoder" else topology.apis[0]


def needs_modes(topology: Topology) -> str | None:
    return None if topology.heeds_modes else "root, and no setpriv"


def needs_clock(_: Topology) -> str | None:
    return None if causes.Clock.library() else "no libfaketime"


FAULTS: list[Fault[Topology]] = [
    Fault("nothing", nothing),
    Fault("Redis killed (-9), started again", redis_killed),
    Fault("Redis restarted", redis_restarted, hold_s=0.5),
    Fault("Redis frozen (SIGSTOP)", on_valkey(causes.frozen)),
    Fault("Redis out of memory (noeviction)", on_valkey(causes.full)),
    Fault("Redis read-only (a replica)", on_valkey(causes.read_only)),
    Fault("Redis 200 ms slower", lambda topology, _: causes.slow(topology.proxy)),
    *(
        Fault(f"Redis answers garbage: {name}", redis_garbage(name), hold_s=2.0)
        for name in causes.GARBAGE
    ),
    Fault("Redis has another password", on_valkey(causes.other_password)),
    Fault("encoder killed (-9)", killed("encoder")),
    Fault("encoder frozen (SIGSTOP)", encoder_frozen, hold_s=10.0),
    Fault("encoder out of memory", encoder_out_of_memory),
    Fault("encoder SIGTERM under load", terminated("encoder"), hold_s=0.5),
    Fault("api killed (-9), one of two", killed("api"), hold_s=2.0),
    Fault("api killed (-9) while activating", api_killed_activating, hold_s=0.5),
    Fault("api SIGTERM under load, one of two", terminated("api"), hold_s=0.5),
    Fault("disk full while a version is written", disk_full, hold_s=1.0),
    Fault("registry read-only", registry_read_only, hold_s=2.0, lacking=needs_modes),
    Fault("clock an hour ahead, and back", clock_jump(HOUR_S), 4.0, needs_clock, with_clock=True),
    Fault("clock an hour back, and ahead", clock_jump(-HOUR_S), 4.0, needs_clock, with_clock=True),
]
