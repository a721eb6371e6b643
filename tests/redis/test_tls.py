"""TLS and ACL users: before a Valkey by a proxy, and of a server that speaks TLS itself.

The Valkey of the wheel has no TLS. A server that has is taken from POLYHEAD_TEST_TLS_SERVER, or
from the path; without one those tests are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from app.cache.address import connect
from app.cache.code_cache import CodeCache
from app.cache.front import FrontCache
from app.cache.layouts import Layout, open_store
from app.cache.server import ServerError
from app.metrics import Metrics
from benchmarks.proxy import Proxy
from tests.conftest import ROOT, ServiceProcess, ValkeyProcess, free_port, wait_for
from tests.redis.codes import FINGERPRINT, WIDTH, count_missing, fill, make_digests

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, another one, and a server's certificate by the first."""

    ca: Path
    other_ca: Path
    certificate: Path
    key: Path


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command makes the certificates, and is not here")
    folder = tmp_path_factory.mktemp("certificates")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        openssl("req", "-x509", *new, "-subj", f"/CN={name}", "-days", "2", *files)
    request, extensions = folder / "server.csr", folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", *new, "-subj", "/CN=cache", "-keyout", folder / "server.key", "-out", request)
    signing = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial")
    out = ("-out", folder / "server.pem")
    openssl("x509", "-req", "-in", request, *signing, "-days", "2", "-extfile", extensions, *out)
    return Certificates(
        folder / "ca.pem", folder / "other.pem", folder / "server.pem", folder / "server.key"
    )


@dataclass(frozen=True)
class TlsServer:
    port: int
    admin: redis.Redis

    def url(self, authority: Path, user: str = "polyhead:secret") -> str:
        return f"rediss://{user}@127.0.0.1:{self.port}/0?ssl_ca_certs={authority}"


def add_user(admin: redis.Redis) -> None:
    """The user that docs/operations.md names, and no other."""
    page = (ROOT / "docs" / "operations.md").read_text()
    [rules] = re.findall(r"An ACL user needs `(.*?)`", page)
    admin.execute_command("ACL SETUSER", "polyhead", "on", ">secret", *rules.split())


@pytest.fixture(params=["before", "itself"])
def server(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path: Path
) -> Iterator[TlsServer]:
    if request.param == "before":
        valkey: ValkeyProcess = request.getfixturevalue("valkey")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        proxy = Proxy(valkey.port, context)
        add_user(valkey.client)
        yield TlsServer(proxy.port, valkey.client)
        proxy.close()
        return
    binary = os.environ.get("POLYHEAD_TEST_TLS_SERVER") or shutil.which("valkey-server")
    binary = binary or shutil.which("redis-server")
    if binary is None:
        pytest.skip("no valkey-server or redis-server here: POLYHEAD_TEST_TLS_SERVER names one")
    port, plain = free_port(), free_port()
    command = [binary, "--port", str(plain), "--tls-port", str(port), "--bind", "127.0.0.1"]
    command += ["--tls-cert-file", str(certificates.certificate)]
    command += ["--tls-key-file", str(certificates.key), "--tls-ca-cert-file", str(certificates.ca)]
    command += ["--tls-auth-clients", "no", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    admin = redis.Redis(port=plain, socket_timeout=5)

    def answers() -> bool:
        if process.poll() is not None:
            pytest.skip(f"{binary} has no TLS")
        try:
            return bool(admin.ping())
        except redis.RedisError:
            return False

    try:
        wait_for(answers, 20, "the server's start")
        add_user(admin)
        yield TlsServer(port, admin)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("layout", ["string", "packed"])
async def test_codes_go_over_tls_as_an_acl_user(
    layout: Layout, server: TlsServer, certificates: Certificates
) -> None:
    store = open_store(
        connect(server.url(certificates.ca), TIMEOUT_S), layout, ttl_s=60, timeout_s=TIMEOUT_S
    )
    digests = make_digests(500)
    await fill(store, digests)
    await store.settled()
    assert await count_missing(store, digests) == 0
    users = {client["user"] for client in server.admin.client_list()}
    assert "polyhead" in users
    assert server.admin.execute_command("ACL LOG") == []
    await store.close()


@pytest.mark.parametrize("wrong", ["authority", "password", "plain"])
async def test_a_server_that_cannot_be_trusted_or_does_not_trust_is_done_without(
    wrong: str, server: TlsServer, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    url = {
        "authority": server.url(certificates.other_ca),
        "password": server.url(certificates.ca, "polyhead:not-the-secret"),
        "plain": f"redis://127.0.0.1:{server.port}/0",
    }[wrong]
    store = open_store(connect(url, TIMEOUT_S), "string", ttl_s=0, timeout_s=TIMEOUT_S)
    with pytest.raises(ServerError):
        await store.get(FINGERPRINT, make_digests(1))
    cache = CodeCache(store, FrontCache(0), Metrics())
    assert await cache.get_many(FINGERPRINT, WIDTH, make_digests(2)) == [None, None]
    assert not cache.is_up
    assert "cache get failed" in caplog.text
    assert "secret" not in caplog.text
    await cache.close()


def test_the_service_with_a_tls_server(
    server: TlsServer,
    certificates: Certificates,
    processes: Callable[..., ServiceProcess],
    tmp_path: Path,
) -> None:
    service = processes(
        "all", tmp_path, REDIS_URL=server.url(certificates.ca), POLYHEAD_CACHE_FRONT_MB="0"
    )
    assert service.predict("over TLS")["usage"]["encoded"] == 1
    assert service.predict("over TLS")["usage"]["cached"] == 1
    assert service.http.get("/ready").json()["cache"] == "up"
