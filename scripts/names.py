"""A name server for one machine: a service's name is the addresses of its running replicas.

What a container engine has inside, so that the proxy, Prometheus and the api find replicas here by
the same configuration. It asks nobody: other names do not exist.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Sequence

A, INTERNET = 1, 1
NAME_ERROR = 3
TTL_S = 0
Lookup = Callable[[str], Sequence[str] | None]


class NameServer:
    """Answers on UDP port 53 of an address, from a thread, until it is closed.

    Args:
        address: its own, of the loopback network.
        lookup: addresses of a name; None for one that does not exist.
    """

    def __init__(self, address: str, lookup: Lookup) -> None:
        self._lookup = lookup
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        # Closing a socket does not wake the thread that reads it; a datagram does.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    _closing = False

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            if self._closing:
                return
            if answer := respond(question, self._lookup):
                self._socket.sendto(answer, sender)


def respond(message: bytes, lookup: Lookup) -> bytes:
    """The answer to a DNS query (RFC 1035); nothing to what is none.

    Args:
        message: the query: one question, anything after it is not read.
        lookup: addresses of a name; None for one that does not exist.
    """
    if len(message) < 12:
        return b""
    identity, flags, questions = struct.unpack_from("!HHH", message)
    if flags & 0x8000 or questions != 1:
        return b""
    labels, at = [], 12
    while at < len(message) and message[at]:
        labels.append(message[at + 1 : at + 1 + message[at]])
        at += 1 + message[at]
    end = at + 5
    if end > len(message):
        return b""
    kind, family = struct.unpack_from("!HH", message, at + 1)
    found = lookup(b".".join(labels).decode("ascii", "replace").lower())
    addresses = found or () if (kind, family) == (A, INTERNET) else ()
    # An answer, of the authority itself; recursion as it was asked for, and had.
    reply = 0x8480 | flags & 0x0100 | (NAME_ERROR if found is None else 0)
    head = struct.pack("!HHHHHH", identity, reply, 1, len(addresses), 0, 0)
    # The name of each record is that of the question, at byte 12.
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, A, INTERNET, TTL_S, 4) + socket.inet_aton(address)
        for address in addresses
    )
    return head + message[12:end] + records
