"""app.cache.address: what REDIS_URL may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import SSLConnection

from app.cache.address import connect, parse_address
from app.cache.cluster import ClusterServer
from app.cache.server import SingleServer
from app.settings import Settings


def test_one_server() -> None:
    address = parse_address("redis://ada:p%40ss@cache:6380/2")
    assert address.kind == "single"
    assert address.options == {
        "username": "ada",
        "password": "p@ss",
        "host": "cache",
        "port": 6380,
        "db": 2,
    }
    assert parse_address("unix:///run/valkey.sock").options["path"] == "/run/valkey.sock"


def test_tls_with_an_authority() -> None:
    options = parse_address("rediss://cache/0?ssl_ca_certs=/etc/ca.pem").options
    assert options["connection_class"] is SSLConnection
    assert options["ssl_ca_certs"] == "/etc/ca.pem"


def test_cluster() -> None:
    address = parse_address("redis+cluster://ada:secret@one:7000,two,[::1]:7002")
    assert address.kind == "cluster"
    assert address.nodes == (("one", 7000), ("two", 6379), ("::1", 7002))
    assert address.options == {"username": "ada", "password": "secret"}
    assert not address.tls


def test_cluster_with_tls() -> None:
    address = parse_address("rediss+cluster://one:7000/0?ssl_ca_certs=/ca.pem")
    assert address.tls
    assert address.options == {"ssl_ca_certs": "/ca.pem"}


def test_sentinel() -> None:
    address = parse_address(
        "rediss+sentinel://ada:secret@one,two:26380/main/3"
        "?ssl_ca_certs=/ca.pem&sentinel_username=sam&sentinel_password=other"
    )
    assert address.kind == "sentinel"
    assert address.nodes == (("one", 26379), ("two", 26380))
    assert address.service == "main"
    assert address.options == {
        "username": "ada",
        "password": "secret",
        "db": 3,
        "ssl_ca_certs": "/ca.pem",
    }
    assert address.sentinel_options == {
        "username": "sam",
        "password": "other",
        "ssl_ca_certs": "/ca.pem",
    }


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        "http://secret@cache",
        "redis+cluster://",
        "redis+cluster://one:secret,two",
        "redis+cluster://one:7000/2",
        "redis+sentinel://one:26379",
        "redis+sentinel://one:26379/",
        "unix+cluster://secret",
        "redis+other://secret",
        "redis://cache?pass=secret",
        "redis://cache?ssl_ca_certs=secret",
        "rediss://cache?ssl_cert_reqs=secret",
        "redis+cluster://one?secret=1",
        "redis+sentinel://one/main?secret=1",
    ],
)
def test_other_forms_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url=url)
    assert "secret" not in str(refused.value)


async def test_clients_are_of_the_kind() -> None:
    for url, kind in (
        ("redis://127.0.0.1", SingleServer),
        ("rediss+cluster://127.0.0.1:7000", ClusterServer),
        ("rediss+sentinel://127.0.0.1/main?ssl_ca_certs=/ca.pem", SingleServer),
    ):
        server = connect(url, 0.1)
        assert isinstance(server, kind)
        await server.close()
