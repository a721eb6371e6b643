"""Where the cache is: the forms that `REDIS_URL` may take, and clients for them.

    redis://[[user]:password@]host[:port][/db]      one server
    unix:///path/to/socket                          the same, on this machine
    redis+cluster://[...@]host:port,host:port       a cluster: some of its nodes
    redis+sentinel://[...@]host:port,host:port/name the master that these Sentinels name

`rediss` in place of `redis` is TLS; `?ssl_ca_certs=FILE` names the authority, and redis-py's other
`ssl_*` options are read too. The user is an ACL user of the server; Sentinels that want one have it
in `?sentinel_username=...&sentinel_password=...`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.cache.cluster import ClusterServer
from app.cache.server import Server, SingleServer

MAX_CONNECTIONS = 256
_PORTS = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True)
class Address:
    """What a URL says.

    `options` are redis-py's, of a connection; `service` and `sentinel_options` are Sentinel's.
    """

    kind: Literal["single", "cluster", "sentinel"]
    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    tls: bool = False
    service: str = ""
    sentinel_options: dict[str, Any] | None = None


def parse_address(url: str) -> Address:
    """Read a URL.

    Raises:
        ValueError: it has none of the forms. The URL is not repeated: it can hold a password.
    """
    scheme, _, rest = url.partition("://")
    base, plus, kind = scheme.partition("+")
    if not plus:
        options = dict(parse_url(url))
        _check(options)
        return Address("single", (), options, base == "rediss")
    if base not in ("redis", "rediss") or kind not in ("cluster", "sentinel"):
        raise ValueError(
            "expected redis://, rediss://, unix://, redis+cluster://, redis+sentinel:// "
            "(or rediss+...)"
        )
    split = urlsplit(f"{base}://{rest}")
    user, at, hosts = split.netloc.rpartition("@")
    nodes = tuple(_node(part, _PORTS[kind]) for part in hosts.split(","))
    path = split.path.strip("/").split("/")
    service, database = "", path[0]
    if kind == "sentinel":
        service, database = unquote(path[0]), "/".join(path[1:])
        if not service:
            raise ValueError("redis+sentinel:// needs the master's name: host:port/name")
    elif database not in ("", "0"):
        raise ValueError("a cluster has database 0 alone")
    query = f"?{split.query}" if split.query else ""
    options = dict(parse_url(f"{base}://{user}{at}{nodes[0][0]}/{database}{query}"))
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    sentinel = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    tls = base == "rediss"
    _check(options | {"connection_class": SSLConnection if tls else Connection})
    if kind == "cluster":
        options.pop("db", None)
        return Address("cluster", nodes, options, tls)
    ssl = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return Address("sentinel", nodes, options, tls, service, sentinel | ssl)


def _check(options: dict[str, Any]) -> None:
    """Make a connection, without connecting it: options are else only looked at when it is used."""
    known = dict(options)
    kind = known.pop("connection_class", Connection)
    try:
        kind(**known)
    except (TypeError, ValueError, RedisError):
        raise ValueError("an option after the ? is unknown, or has no such value") from None


def _node(text: str, default_port: int) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError("expected host:port,host:port")
    return host, port or default_port


def connect(url: str, timeout_s: float) -> Server:
    """A client that gives up early: the cache may not hold a request for long.

    Raises:
        ValueError: see `parse_address`.
    """
    address = parse_address(url)
    limits: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "max_connections": MAX_CONNECTIONS,
        # Replies of one form, whatever the server.
        "protocol": 2,
        # Trying again is the matter of app.cache.server.
        "retry": Retry(NoBackoff(), 0),
    }
    if address.kind == "single":
        return SingleServer(Redis.from_url(url, **limits), timeout_s)
    options = address.options | limits | ({"ssl": True} if address.tls else {})
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.nodes]
        # What a part of the slots holds is there while another has no node.
        options["require_full_coverage"] = False
        return ClusterServer(RedisCluster(startup_nodes=nodes, **options), timeout_s)
    asking = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        **(address.sentinel_options or {}),
        **({"ssl": True} if address.tls else {}),
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(address.nodes), sentinel_kwargs=asking
    )
    return SingleServer(sentinel.master_for(address.service, **options), timeout_s)
