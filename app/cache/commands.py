"""Commands in the wire's form (RESP). Pure."""

from __future__ import annotations

from typing import TypeAlias

# The key that decides where a command goes, and the command packed.
Command: TypeAlias = tuple[bytes, bytes]


def pack(*parts: bytes) -> bytes:
    """A command in the wire's form."""
    return b"*%d\r\n" % len(parts) + b"".join(
        [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    )


def keyed(name: bytes, key: bytes, *parts: bytes) -> Command:
    """A command whose first argument is its key."""
    return key, pack(name, key, *parts)
