"""The main path: look up the codes, encode the misses, run the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.clock import Stopwatch
from app.encoding.protocol import TextEncoder
from app.errors import BadRequest, InvalidField
from app.metrics import Metrics
from app.schemas import PredictRequest
from app.tasks.lookup import Lookup
from app.tasks.plans import Plan, plan_for
from app.tasks.registry import Registry


@dataclass
class PredictionService:
    """Answers many tasks about texts (or stored codes)."""

    registry: Registry
    lookup: Lookup
    encoder: TextEncoder
    metrics: Metrics
    max_tasks: int
    # prometheus_client's label look-up takes a lock and a tuple; a task's child never changes.
    _task_counters: dict[str, Any] = field(default_factory=dict)

    async def predict(self, request: PredictRequest, watch: Stopwatch) -> dict[str, Any]:
        """The answer to a predict request, ready for JSON."""
        self._check(request)
        # Heads first: an unknown task must not cost an encoder pass.
        info = await self.encoder.info()
        plan = self._plan(request.tasks, info.fingerprint, info.bits)
        if request.keys is not None:
            looked = await self.lookup.keys(request.keys, watch)
        else:
            inputs = request.inputs
            assert inputs is not None
            looked = await self.lookup.texts(inputs, watch, truncate=request.truncate)
        if looked.info.fingerprint != info.fingerprint:  # the encoder changed in between
            plan = self._plan(request.tasks, looked.info.fingerprint, looked.info.bits)
        predictions = plan.predict([stored.code for stored in looked.codes], request.scores)
        self._count(plan, len(looked.codes), looked.encoded)
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
            "usage": looked.usage().model_dump(),
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

    def _count(self, plan: Plan, texts: int, encoded: int) -> None:
        for task in plan.tasks:
            counter = self._task_counters.get(task.name)
            if counter is None:
                counter = self.metrics.predictions.labels(task.name)
                self._task_counters[task.name] = counter
            counter.inc(texts)
        saved = texts * len(plan.tasks) - encoded
        if saved > 0:
            self.metrics.passes_saved.inc(saved)
