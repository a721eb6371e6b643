"""Where encoder processes are: the forms that `POLYHEAD_ENCODER_URL` may take. Pure.

    http://host:port                       one encoder, or as many as the name has addresses
    http://host:port,http://host:port/path several; names and numbers may be mixed

A name is looked up anew every few seconds, so that what is behind it may grow and shrink
(`docker compose up --scale encoder=3`, a headless service of Kubernetes).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_EXPECTED = "expected http://host:port,http://host:port (or https), without user and query"


class Place(NamedTuple):
    """One part of the setting: a name, or a number, and how to talk to what is there."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_name(self) -> bool:
        """Whether `host` has to be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


class Address(NamedTuple):
    """One encoder process.

    Attributes:
        number: the host's, as an IP address.
        place: what it was found under; its name is that of the host towards proxies and TLS.
    """

    number: str
    place: Place

    @property
    def label(self) -> str:
        """`host:port`, which tells encoders apart, in logs and metrics too."""
        return _joined(self.number, self.place.port)

    @property
    def url(self) -> str:
        return f"{self.place.scheme}://{self.label}{self.place.path}"

    @property
    def named_host(self) -> str:
        """For the header `host`."""
        return _joined(self.place.host, self.place.port)


def parse_places(text: str) -> tuple[Place, ...]:
    """Read the setting.

    Raises:
        ValueError: it has another form. The text is not repeated.
    """
    return tuple(_place(part.strip()) for part in text.split(",") if part.strip())


def addresses_of(place: Place, numbers: Iterable[str]) -> list[Address]:
    """The encoders behind a place whose name has these numbers.

    IPv4 alone where there is any: a process that has both would be taken for two.
    """
    found = sorted({str(ipaddress.ip_address(number)) for number in numbers})
    of_4 = [number for number in found if ":" not in number]
    return [Address(number, place) for number in of_4 or found]


def _place(text: str) -> Place:
    try:
        split = urlsplit(text)
        host, port = split.hostname or "", split.port
    except ValueError:
        raise ValueError(_EXPECTED) from None
    more = "@" in split.netloc or split.query or split.fragment
    if not host or more or split.scheme not in _PORTS or port == 0:
        raise ValueError(_EXPECTED)
    return Place(split.scheme, host, port or _PORTS[split.scheme], split.path.rstrip("/"))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
