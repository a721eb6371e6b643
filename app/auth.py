"""Bearer keys: two scopes, compared in constant time, never logged."""

from __future__ import annotations

import hashlib
import hmac

from app.errors import Forbidden, Unauthorized

SCOPES = {"predict": {"predict"}, "manage": {"predict", "manage"}}
CLIENT_BYTES = 12


class Keys:
    """The keys that this process accepts. Only their digests are kept.

    Args:
        keys: `{key: scope}`; empty accepts everyone.
    """

    def __init__(self, keys: dict[str, str]) -> None:
        self._scopes = [(_digest(key.encode()), SCOPES[scope]) for key, scope in keys.items()]

    def check(self, authorization: str | None, scope: str) -> str:
        """Let a caller through or not.

        Returns:
            A name for the client that says nothing of its key, the same in every process; empty
            where no keys are asked for.

        Raises:
            Unauthorized: no key, or none of ours.
            Forbidden: the key lacks the scope.
        """
        if not self._scopes:
            return ""
        kind, _, key = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not key:
            raise Unauthorized("an API key is needed: Authorization: Bearer KEY")
        digest = _digest(key.strip().encode("utf-8", "surrogatepass"))
        granted: set[str] = set()
        for known, scopes in self._scopes:  # all of them: the time tells nothing
            if hmac.compare_digest(known, digest):
                granted |= scopes
        if not granted:
            raise Unauthorized("the API key is not valid")
        if scope not in granted:
            raise Forbidden(f"this API key lacks the scope {scope!r}")
        return hashlib.blake2b(digest, digest_size=CLIENT_BYTES, person=b"client").hexdigest()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
