"""Causes of trouble: each begins one on a real process, and ends it.

The tests of faults and the table of faults (`benchmarks.faults`) share them.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from benchmarks.processes import ServiceProcess, ValkeyProcess, free_port
from benchmarks.proxy import Proxy

GARBAGE = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an acknowledgement": b"+OK\r\n",
    "a list that is too short": b"*1\r\n:1\r\n",
    "nothing": b"$-1\r\n",
    "too many answers": b"*1\r\n$3\r\nabc\r\n" * 50,
    "a refusal": b"-ERR no\r\n",
    "half of an answer": b"$1000\r\nabc",
}

# What root needs to be refused by a folder's mode, as others are.
WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)


@contextmanager
def frozen(process: ServiceProcess | ValkeyProcess) -> Iterator[None]:
    """Neither answers nor closes: what is asked waits in its sockets."""
    assert process.process is not None
    process.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.process.send_signal(signal.SIGCONT)


@contextmanager
def slow(proxy: Proxy, delay_s: float = 0.2) -> Iterator[None]:
    """Every answer comes so much later."""
    proxy.delay_s = delay_s
    try:
        yield
    finally:
        proxy.delay_s = 0.0


@contextmanager
def garbage(proxy: Proxy, answer: bytes) -> Iterator[None]:
    """Bytes that are no answer, in the place of every answer."""
    proxy.garbage = answer
    try:
        yield
    finally:
        proxy.garbage = b""


@contextmanager
def other_password(valkey: ValkeyProcess) -> Iterator[None]:
    """The password is changed, and who is connected has to connect anew."""
    # A client of its own: this connection stays let in, so that it can end the fault.
    client = redis.Redis(port=valkey.port, socket_timeout=5, single_connection_client=True)
    client.config_set("requirepass", "changed")
    client.client_kill_filter(_type="normal", skipme=True)
    try:
        yield
    finally:
        client.config_set("requirepass", "")
        client.close()


@contextmanager
def full(valkey: ValkeyProcess) -> Iterator[None]:
    """Over its memory limit, and nothing may be evicted: it gives codes, and takes none."""
    valkey.client.config_set("maxmemory-policy", "noeviction")
    valkey.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        valkey.client.config_set("maxmemory", 0)


@contextmanager
def read_only(valkey: ValkeyProcess) -> Iterator[None]:
    """A replica of a master that is gone."""
    valkey.client.replicaof("127.0.0.1", free_port())
    try:
        yield
    finally:
        valkey.client.replicaof("NO", "ONE")


@contextmanager
def no_more_memory(process: ServiceProcess, room_bytes: int = 0) -> Iterator[None]:
    """Address space is limited to what the process has and `room_bytes`: allocations fail."""
    assert process.process is not None
    pid = process.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(pid) + room_bytes, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have died of it
            resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


@contextmanager
def no_room_for_files(process: ServiceProcess, largest: int = 4096) -> Iterator[None]:
    """No file may grow beyond `largest` bytes: a version's weights are written in half."""
    assert process.process is not None
    pid = process.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only_folders(root: Path) -> Iterator[None]:
    """No folder at or under `root` takes anything; of processes started by `heeding_modes`."""
    _set_modes(root, 0o555)
    try:
        yield
    finally:
        _set_modes(root, 0o755)


def heeding_modes(command: list[str]) -> list[str] | None:
    """The command such that modes of folders apply to it; None where that cannot be had."""
    if os.geteuid() != 0:
        return command
    return [*WITHOUT_OVERRIDE, *command] if shutil.which("setpriv") else None


class Clock:
    """The wall clock of processes that are started in `environment`; time that passes is real.

    By libfaketime: what a machine does whose clock is set.

    Args:
        folder: for the file that says how far it is off.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)

    @staticmethod
    def library() -> Path | None:
        """Where libfaketime is, if it is there."""
        return next((path for path in FAKETIME if path.exists()), None)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # else a jump is seen by one process now, by another later
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
        }

    def set(self, seconds: int) -> None:
        """Jump to so many seconds ahead of the real time; back if negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    @contextmanager
    def jumped(self, seconds: int) -> Iterator[None]:
        self.set(seconds)
        try:
            yield
        finally:
            self.set(0)


def address_space(pid: int) -> int:
    """Bytes of address space that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _set_modes(root: Path, mode: int) -> None:
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(mode)
