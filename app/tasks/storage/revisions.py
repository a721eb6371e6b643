"""The revisions of a shared registry: who may write the next one, and which one is the newest.

A change is made of the newest revision and put under the next number, if there is none of that
number yet. Who loses that race makes the change anew of the winner's revision: nothing is lost, all
see the same order, and of two that activate at once the one with the higher number has the last
word.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable

from app.errors import StorageUnavailable
from app.tasks.storage.bucket import Bucket
from app.tasks.storage.index import (
    NOTHING,
    PROBES,
    REVISIONS,
    Index,
    IndexDamaged,
    Revision,
    revision_key,
    revision_number,
    revision_of_bytes,
)

logger = logging.getLogger(__name__)

TRIES = 100
PAUSE_S = 0.05  # at most, times the tries so far, between two of them
# Asking for the next number tells whether there is one, as long as it cannot have been removed.
LIST_AFTER_S = 300.0
KEEP, KEEP_S = 100, 24 * 3600.0
PRUNE_EVERY = 50


class Revisions:
    """The newest revision as far as it is known, and changes to it. Not thread-safe."""

    def __init__(self, bucket: Bucket, known: Revision = NOTHING) -> None:
        self._bucket = bucket
        self._looked_at: float | None = None
        self._checked = False
        self.known = known

    def look(self) -> Revision:
        """The newest revision. One call of the store where nothing changed.

        Raises:
            StorageUnavailable: it cannot be known, or cannot be read.
        """
        now = time.monotonic()
        must_list = self._looked_at is None or now - self._looked_at > LIST_AFTER_S
        if must_list or self._bucket.read(revision_key(self.known.number + 1)) is not None:
            self._list()
        self._looked_at = now
        return self.known

    def commit(self, change: Callable[[Index], Index]) -> Index | None:
        """Make a change, and return the index with it; None where there was nothing to change.

        Raises:
            StorageUnavailable: it was not made, or (if the store fell silent in between) it may
                have been.
            ApiError: what `change` raises.
        """
        if not self._checked:
            self._check()
        for attempt in range(TRIES):
            newest = self.look()
            changed = change(newest.index)
            if changed is newest.index:
                return None
            revision = Revision(
                number=newest.number + 1, written=uuid.uuid4().hex, at=time.time(), index=changed
            )
            if self._put(revision):
                self.known = revision
                self._prune()
                return changed
            time.sleep(random.uniform(0, PAUSE_S) * min(attempt + 1, 10))  # noqa: S311
        raise StorageUnavailable("the registry is being changed by too many at once", retry_after=2)

    def _check(self) -> None:
        """See that the store refuses to put an object twice, without which nothing holds.

        Not at the start: who only reads needs no right to write.
        """
        key = f"{PROBES}/{uuid.uuid4().hex}"
        first, second = self._bucket.create(key, b"1"), self._bucket.create(key, b"2")
        self._bucket.remove([key])
        if not first or second:
            logger.error(
                "the registry's storage replaces objects that it was told not to replace: "
                "nothing is written to it"
            )
            raise StorageUnavailable("the registry's storage cannot be shared", retry_after=30)
        self._checked = True

    def _put(self, revision: Revision) -> bool:
        key = revision_key(revision.number)
        if self._bucket.create(key, revision.to_bytes()):
            return True
        # It may be our own: put, its answer lost, and put again by a library's retry.
        found = self._read(revision.number)
        return found is not None and found.written == revision.written

    def _list(self) -> None:
        numbers = (revision_number(name) for name in self._bucket.names(REVISIONS))
        newest = max((number for number in numbers if number is not None), default=0)
        if newest < self.known.number:
            logger.error("the registry's revisions are gone: what was read before is kept")
            raise StorageUnavailable("the registry's revisions are gone", retry_after=30)
        if newest > self.known.number:
            revision = self._read(newest)
            if revision is None:
                raise StorageUnavailable("the registry's newest revision is gone", retry_after=5)
            self.known = revision

    def _read(self, number: int) -> Revision | None:
        data = self._bucket.read(revision_key(number))
        if data is None:
            return None
        try:
            revision = revision_of_bytes(data)
        except IndexDamaged as error:
            logger.error("revision %d of the registry: %s", number, error)
            raise StorageUnavailable("the registry cannot be read", retry_after=30) from None
        return revision

    def _prune(self) -> None:
        """Remove old revisions, but none that a process could still take for the next one."""
        last = self.known.number - KEEP
        if last <= 0 or self.known.number % PRUNE_EVERY:
            return
        try:
            oldest_kept = self._read(last)
            if oldest_kept is None or time.time() - oldest_kept.at < KEEP_S:
                return
            numbers = (revision_number(name) for name in self._bucket.names(REVISIONS))
            old = [n for n in numbers if n is not None and n <= last]
            self._bucket.remove([revision_key(number) for number in old])
        except StorageUnavailable:
            pass  # the next one does
