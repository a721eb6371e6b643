"""Learning curves of versions, from their stored rows, made when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from app.errors import Conflict, Overloaded
from app.schemas import LearningCurve, LearningPoint
from app.tasks.registry import Registry
from app.tasks.settings import thresholds_of
from app.tasks.trainer import Trainer
from models.example_rows import TEST
from models.training.learning_curve import learning_curve

MAX_WAITING = 4
KEEP = 64


class LearningCurves:
    """Makes curves in the training worker; versions never change, so curves are kept."""

    def __init__(self, registry: Registry, trainer: Trainer) -> None:
        self._registry = registry
        self._trainer = trainer
        self._kept: dict[tuple[str, float, int], LearningCurve] = {}
        self._waiting = 0

    async def of(self, task: str, version: int) -> LearningCurve:
        """The curve of one version.

        Raises:
            NotFound: no such task or version.
            Conflict: it was stored without rows, or none were held out.
            Overloaded: others wait for theirs.
        """
        await asyncio.to_thread(self._registry.version, task, version)
        # A task that was deleted and made again counts its versions anew.
        key = (task, self._registry.snapshot.get(task).created_at, version)
        if key in self._kept:
            return self._kept[key]
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{self._waiting} learning curves are being made", retry_after=5)
        self._waiting += 1
        try:
            work, tested = await asyncio.to_thread(self._work, task, version)
            names = await self._trainer.names_of_version(task, version)
            points = await self._trainer.in_worker(partial(work, names=names))
        except BrokenProcessPool:
            raise Overloaded("the training worker died (out of memory?)", retry_after=5) from None
        finally:
            self._waiting -= 1
        data = [LearningPoint(**point) for point in points]
        curve = LearningCurve(task=task, version=version, n_test=tested, data=data)
        if len(self._kept) >= KEEP:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = curve
        return curve

    def _work(self, task: str, version: int) -> tuple[Callable[..., list[dict[str, Any]]], int]:
        manifest = self._registry.version(task, version)
        rows = self._registry.rows(task, version)
        tested = 0 if rows is None else int((rows.side == TEST).sum())
        if rows is None or not tested:
            raise Conflict(
                f"version {version} has no stored rows that were held out",
                param="version",
                code="no_stored_rows",
            )
        # As it was trained: the settings that people changed since are not part of that.
        options = (manifest.report or {}).get("options") or {}
        balanced = isinstance(options, dict) and options.get("class_weight") == "balanced"
        settings = self._registry.snapshot.get(task).settings_of(version)
        work = partial(
            learning_curve,
            rows,
            self._registry.head(task, version),
            thresholds_of(manifest, settings.model_copy(update={"thresholds": None})),
            head_kind=manifest.head,
            kind=manifest.kind,
            outputs=len(manifest.labels),
            class_weight="balanced" if balanced else None,
            seed=0,
        )
        return work, tested
