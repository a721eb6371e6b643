"""Shadows: a version answers live traffic beside the active one, and nobody is shown its answers.

What was answered is put aside, at the price of a list entry, and compared a moment later: in
batches, in a thread, and not at all when more comes than can be compared. The figures are this
process's own; `/metrics` carries them for all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.errors import NotFound
from app.metrics import Metrics
from app.schemas import Shadow, ShadowExample, ShadowPair
from app.tasks.plans import Plan, PlannedShadow
from app.tasks.state import TaskState
from models.comparison import wilson_interval

logger = logging.getLogger(__name__)

WAIT_S = 0.05  # for more texts, so that they share a product
MAX_WAITING = 8_192  # texts
MAX_PAIRS = 1_000  # of answers, counted apart
SHOWN_PAIRS = 50
SHOWN_EXAMPLES = 20
Answer = str | list[str] | None


class _Waiting(NamedTuple):
    shadow: PlannedShadow
    digests: Sequence[bytes]
    codes: list[bytes]
    answers: list[dict[str, Any]]  # the active version's


@dataclass
class _Found:
    """What was compared of one pair of versions."""

    of: tuple[float, int, int]
    since: float = field(default_factory=time.time)
    texts: int = 0
    dropped: int = 0
    disagreements: int = 0
    sum: float = 0.0
    absolute_sum: float = 0.0
    pairs: Counter[tuple[Hashable, Hashable]] = field(default_factory=Counter)
    examples: deque[ShadowExample] = field(default_factory=lambda: deque(maxlen=SHOWN_EXAMPLES))


class ShadowTraffic:
    """Compares what active versions answer with what their shadows would have."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._rows = 0
        self._found: dict[str, _Found] = {}
        self._task: asyncio.Task[None] | None = None

    def note(
        self,
        plan: Plan,
        digests: Sequence[bytes],
        codes: list[bytes],
        predictions: Sequence[dict[str, Any]],
    ) -> None:
        """Put answers aside to be compared. Costs the caller next to nothing."""
        for shadow in plan.shadows:
            if self._rows + len(codes) > MAX_WAITING:
                self._of(shadow).dropped += len(codes)
                continue
            answers = [prediction[shadow.task] for prediction in predictions]
            self._waiting.append(_Waiting(shadow, digests, codes, answers))
            self._rows += len(codes)
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._work(), name="shadows")

    def forget(self, task: str) -> None:
        """Begin anew with a task's figures."""
        self._found.pop(task, None)

    def report(self, state: TaskState) -> Shadow:
        """What is known of a task's shadow.

        Raises:
            NotFound: it has none.
        """
        if state.shadow is None:
            raise NotFound(f"task {state.name!r} has no shadow", param="task", code="no_shadow")
        found = self._found.get(state.name)
        if found is not None and found.of != (state.created_at, state.active, state.shadow):
            found = None
        texts = found.texts if found else 0
        is_value = state.kind == "regression"
        share = found if found and texts else None
        return Shadow(
            task=state.name,
            version=state.shadow,
            active_version=state.active,
            since=share.since if share else None,
            texts=texts,
            dropped=found.dropped if found else 0,
            disagreements=None if is_value else (found.disagreements if found else 0),
            rate=share.disagreements / texts if share and not is_value else None,
            interval=list(wilson_interval(share.disagreements, texts))
            if share and not is_value
            else None,
            mean_difference=share.sum / texts if share and is_value else None,
            mean_absolute_difference=share.absolute_sum / texts if share and is_value else None,
            pairs=_pairs(found) if found else [],
            examples=list(found.examples) if found else [],
        )

    async def settled(self) -> None:
        """Wait until all that was put aside is compared."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Give up what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(WAIT_S)
                waiting, self._waiting, self._rows = self._waiting, [], 0
                for group in _by_plan(waiting):
                    shadow = group[0].shadow
                    codes = [code for one in group for code in one.codes]
                    found = await asyncio.to_thread(shadow.plan.predict, codes, False)
                    self._compare(shadow, group, [answer[shadow.task] for answer in found])
        except Exception:
            # A fault of ours must not end what people are waiting for, nor be passed over.
            logger.exception("shadows could not be compared")
        finally:
            self._task = None

    def _compare(
        self, shadow: PlannedShadow, group: list[_Waiting], answers: list[dict[str, Any]]
    ) -> None:
        found = self._of(shadow)
        digests = [digest for one in group for digest in one.digests]
        theirs = [answer for one in group for answer in one.answers]
        before = found.disagreements
        for digest, active, candidate in zip(digests, theirs, answers, strict=True):
            if "value" in active:
                difference = candidate["value"] - active["value"]
                found.sum += difference
                found.absolute_sum += abs(difference)
                continue
            a, b = _answer(active), _answer(candidate)
            if a == b:
                continue
            found.disagreements += 1
            found.examples.append(ShadowExample(key=digest.hex(), active=a, shadow=b))
            pair = (_hashable(a), _hashable(b))
            if pair in found.pairs or len(found.pairs) < MAX_PAIRS:
                found.pairs[pair] += 1
        found.texts += len(answers)
        self._metrics.shadow_texts.labels(shadow.task).inc(len(answers))
        self._metrics.shadow_disagreements.labels(shadow.task).inc(found.disagreements - before)

    def _of(self, shadow: PlannedShadow) -> _Found:
        """The figures of a pair of versions, begun anew when either has changed."""
        of = (shadow.created_at, shadow.active, shadow.version)
        found = self._found.get(shadow.task)
        if found is None or found.of != of:
            found = self._found[shadow.task] = _Found(of)
        return found


def _by_plan(waiting: list[_Waiting]) -> list[list[_Waiting]]:
    groups: dict[int, list[_Waiting]] = {}
    for one in waiting:
        groups.setdefault(id(one.shadow), []).append(one)
    return list(groups.values())


def _answer(prediction: dict[str, Any]) -> Answer:
    answer: Answer = prediction["labels"] if "labels" in prediction else prediction["label"]
    return answer


def _hashable(answer: Answer) -> Hashable:
    return tuple(answer) if isinstance(answer, list) else answer


def _pairs(found: _Found) -> list[ShadowPair]:
    return [
        ShadowPair(active=_shown(active), shadow=_shown(shadow), count=count)
        for (active, shadow), count in found.pairs.most_common(SHOWN_PAIRS)
    ]


def _shown(answer: Any) -> Answer:
    return list(answer) if isinstance(answer, tuple) else answer
