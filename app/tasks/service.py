"""The main path: look up the codes, encode the misses, run the heads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from app.call import Call
from app.encoding.protocol import TextEncoder
from app.errors import BadRequest, InvalidField
from app.metrics import Metrics
from app.schemas import PredictRequest
from app.tasks.drift import DriftWatch
from app.tasks.head_queue import HeadQueue
from app.tasks.lookup import Lookup
from app.tasks.plans import Plan, plan_for
from app.tasks.registry import Registry
from app.tasks.shadow import ShadowTraffic

# Sets of tasks counted apart until someone reads the figures.
MAX_SETS = 1_000


@dataclass
class PredictionService:
    """Answers many tasks about texts (or stored codes)."""

    registry: Registry
    lookup: Lookup
    encoder: TextEncoder
    metrics: Metrics
    shadows: ShadowTraffic
    drift: DriftWatch
    max_tasks: int
    # Texts answered by each set of tasks, not yet in the metric: one dict entry a request, where
    # a counter a task would cost more than the heads do.
    _answered: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _heads: HeadQueue = field(init=False)

    def __post_init__(self) -> None:
        self._heads = HeadQueue(self.metrics.head_seconds)
        self.metrics.before_exposition.append(self._count_tasks)

    async def predict(self, request: PredictRequest, call: Call) -> dict[str, Any]:
        """The answer to a predict request, ready for JSON."""
        self._check(request)
        # Heads first: an unknown task must not cost an encoder pass.
        info = await self.encoder.info()
        plan = self._plan(request.tasks, info.fingerprint, info.bits)
        if request.keys is not None:
            looked = await self.lookup.keys(request.keys, call)
        else:
            inputs = request.inputs
            assert inputs is not None
            looked = await self.lookup.texts(inputs, call, truncate=request.truncate)
        if looked.info.fingerprint != info.fingerprint:  # the encoder changed in between
            plan = self._plan(request.tasks, looked.info.fingerprint, looked.info.bits)
        codes = [stored.code for stored in looked.codes]
        predictions = await self._heads.predict(plan, codes, request.scores)
        self.count(plan, len(looked.codes), looked.encoded)
        self.drift.note(plan, looked.info.fingerprint, codes)
        if plan.shadows:
            # Of plans with shadows answers are dicts.
            answers = cast(Sequence[dict[str, Any]], predictions)
            self.shadows.note(plan, looked.digests, codes, answers)
        answer: dict[str, Any] = {
            "object": "list",
            "encoder": looked.info.fingerprint,
            "data": [
                {
                    "index": index,
                    "key": digest.hex(),
                    "cached": cached,
                    "truncated": stored.truncated,
                    "predictions": prediction,
                }
                for index, (digest, cached, stored, prediction) in enumerate(
                    zip(looked.digests, looked.cached, looked.codes, predictions, strict=True)
                )
            ],
            "usage": looked.usage(),
        }
        if plan.skipped:
            answer["skipped"] = plan.skipped
        return answer

    def _check(self, request: PredictRequest) -> None:
        if (request.inputs is None) == (request.keys is None):
            raise InvalidField("give either inputs or keys", param="inputs")
        if request.tasks is not None:
            if not request.tasks:
                raise BadRequest("tasks is empty; null asks all", param="tasks", code="empty_input")
            if len(request.tasks) > self.max_tasks:
                raise InvalidField(
                    f"tasks: {len(request.tasks)} are over the limit of {self.max_tasks}",
                    param="tasks",
                )

    def _plan(self, tasks: Sequence[str] | None, fingerprint: str, bits: int) -> Plan:
        return plan_for(self.registry.snapshot, tasks, fingerprint, bits)

    def count(self, plan: Plan, texts: int, encoded: int) -> None:
        """Book answers to texts, of which `encoded` cost a pass."""
        self._answered[plan.names] += texts
        if len(self._answered) > MAX_SETS:
            self._count_tasks()
        saved = texts * len(plan.tasks) - encoded
        if saved > 0:
            self.metrics.passes_saved.inc(saved)

    def _count_tasks(self) -> None:
        answered, self._answered = self._answered, Counter()
        for names, texts in answered.items():
            self.metrics.predicted_texts.inc(texts)
            for name in names:
                self.metrics.predictions.labels(name).inc(texts)
