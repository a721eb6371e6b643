"""A backfill as one Parquet file: columns straight from the heads' outputs, without rows between.

| kind | columns |
| --- | --- |
| single label | `TASK` (null where it is not sure), `TASK_score`, and `TASK_scores` if asked |
| multi label | `TASK` (a list), and `TASK_scores` if asked |
| regression | `TASK` |

The footer, without which nobody can read a Parquet file, is written when all codes are: a file that
was cut off is none. Needs pyarrow (the extra `archive`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.errors import ApiError
from app.tasks.plans import DIGITS, Plan, PlannedTask
from models.codes import Floats, stack_codes

FORMAT = "polyhead-backfill/1"
GROUP = 32_768  # rows of a row group: what is held in memory


class TableWriter:
    """Turns codes into pieces of a Parquet file.

    Args:
        plan: of the heads; one at least.
        encoder: fingerprint of the encoder whose codes they are.
        scores: also give every label's probability.

    Raises:
        ValueError: two columns would have one name.
    """

    def __init__(self, plan: Plan, encoder: str, scores: bool) -> None:
        self._plan = plan
        self._floors = dict(plan.floors)
        self._scores = scores
        fields = [pa.field("key", pa.string())]
        for task in plan.tasks:
            fields += _fields(task, scores)
        names = [field.name for field in fields]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two columns would be called {min(twice)!r}: ask the tasks apart")
        versions = {task.name: task.version for task in plan.tasks}
        self._schema = pa.schema(
            fields,
            {"format": FORMAT, "encoder": encoder, "versions": json.dumps(versions)},
        )
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._held: list[Any] = []
        self._rows = 0

    def rows(self, rows: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Answer for some codes by digest; what is to be sent now, often nothing."""
        self._held.append(self._batch(rows))
        self._rows += len(rows)
        if self._rows >= GROUP:
            self._flush()
        return self._sink.taken()

    def end(self, texts: int, seconds: float) -> bytes:
        """The rest, and the footer."""
        if self._held:
            self._flush()
        self._writer.close()
        return self._sink.taken()

    def broken(self, error: ApiError) -> bytes:
        """Nothing: without a footer there is no file.

        Raises:
            ApiError: always, so that the connection is cut off and the reader knows.
        """
        raise error

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._held, self._schema))
        self._held, self._rows = [], 0

    def _batch(self, rows: Sequence[tuple[bytes, bytes]]) -> Any:
        stack = self._plan.stack
        assert stack is not None
        codes = stack_codes([code for _, code in rows])
        best, confidence = stack.best(codes)
        plain = all(task.kind == "single_label" for task in self._plan.tasks)
        every = None if plain and not self._scores else stack.scores(codes)
        columns = [pa.array([digest.hex() for digest, _ in rows], pa.string())]
        for number, task in enumerate(self._plan.tasks):
            own = None if every is None else every[:, task.start : task.stop]
            columns += self._columns(task, best[:, number], confidence[:, number], own)
        return pa.record_batch(columns, schema=self._schema)

    def _columns(
        self,
        task: PlannedTask,
        best: NDArray[np.int64],
        confidence: Floats,
        every: Floats | None,
    ) -> list[Any]:
        if task.kind == "regression":
            assert every is not None
            return [pa.array(every[:, 0].astype(np.float64))]
        columns: list[Any] = []
        if task.kind == "single_label":
            rounded = confidence.astype(np.float64).round(DIGITS)
            unsure = rounded < self._floors.get(task.name, 0.0)
            places = pa.array((best - task.start).astype(np.int32), mask=unsure)
            labels = pa.DictionaryArray.from_arrays(places, pa.array(task.labels))
            columns += [labels, pa.array(rounded)]
        else:
            assert every is not None
            given = every > task.thresholds
            ends = np.concatenate([[0], given.sum(axis=1).cumsum()]).astype(np.int32)
            names = pa.array(task.labels).take(pa.array(np.nonzero(given)[1]))
            columns.append(pa.ListArray.from_arrays(pa.array(ends), names))
        if self._scores:
            assert every is not None
            values = every.astype(np.float64).round(DIGITS).T
            columns.append(
                pa.StructArray.from_arrays(
                    [pa.array(np.ascontiguousarray(one)) for one in values], list(task.labels)
                )
            )
        return columns


def _fields(task: PlannedTask, scores: bool) -> list[Any]:
    if task.kind == "regression":
        return [pa.field(task.name, pa.float64())]
    fields = [pa.field(task.name, pa.list_(pa.string()))]
    if task.kind == "single_label":
        labels = pa.dictionary(pa.int32(), pa.string())
        fields = [pa.field(task.name, labels), pa.field(f"{task.name}_score", pa.float64())]
    if scores:
        by_label = pa.struct([(label, pa.float64()) for label in task.labels])
        fields.append(pa.field(f"{task.name}_scores", by_label))
    return fields


class _Sink:
    """A file that is written to, and emptied in between."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._parts.append(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
