"""A backfill as one Parquet file: keys, and the columns of `app.tasks.answer_columns`.

The footer, without which nobody can read a Parquet file, is written when all codes are: a file that
was cut off is none. Needs pyarrow (the extra `archive`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import ApiError
from app.tasks.answer_columns import AnswerColumns, refuse_twins
from app.tasks.plans import Plan
from models.codes import stack_codes

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
        self._columns = AnswerColumns(plan, scores)
        fields = [pa.field("key", pa.string()), *self._columns.fields]
        refuse_twins(fields)
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
        keys = pa.array([digest.hex() for digest, _ in rows], pa.string())
        answers = self._columns.of(stack_codes([code for _, code in rows]))
        return pa.record_batch([keys, *answers], schema=self._schema)


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
