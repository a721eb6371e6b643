"""What versions' training rows were like: read from disk once, or made of the stored rows.

Versions of before there was drift were stored without it. Making it takes some tenths of a second
a version, so a look makes only what there is time for; the rest has to wait for the next ones.
"""

from __future__ import annotations

import logging
import time

from app.errors import Conflict, NotFound
from app.tasks.registry import Registry
from app.tasks.state import TaskState
from models.example_rows import TRAIN
from models.head_runtime import Head
from models.reference import Reference, reference_of_rows

logger = logging.getLogger(__name__)

MAX_KEPT = 256


class NotMadeYet(Exception):
    """There was no time for it."""


class References:
    """References of active versions. Blocking; for one thread at a time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: dict[tuple[str, float, int], Reference | None] = {}

    def of(self, state: TaskState, version: int, until: float) -> Reference | None:
        """What a version's training rows were like; None where there is nothing to tell it from.

        Args:
            state: the task.
            version: its active one.
            until: the moment (`time.monotonic`) after which none is made anew.

        Raises:
            NotMadeYet: it is after that.
        """
        key = (state.name, state.created_at, version)
        if key not in self._kept:
            try:
                found = self._registry.reference(state.name, version)
                if found is None and state.head is not None:
                    found = self._made(state, state.head, version, until)
            except (Conflict, OSError) as error:
                logger.error("drift of task %s is not known: %s", state.name, error)
                found = None
            except NotFound:
                return None  # deleted in between
            if len(self._kept) >= MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = found
        return self._kept[key]

    def _made(self, state: TaskState, head: Head, version: int, until: float) -> Reference | None:
        if time.monotonic() > until:
            raise NotMadeYet
        rows = self._registry.rows(state.name, version)
        if rows is None:
            return None
        labels = len(state.version(version).labels)
        return reference_of_rows(rows.codes[rows.side == TRAIN], head, state.kind, labels)
