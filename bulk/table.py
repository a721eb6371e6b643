"""The output's rows: one for each of the input's, in its order.

| column | |
| --- | --- |
| `file`, `row` | where the row is in the input, unless a key column of the user's says who it is |
| the key column, and what else is to be copied | as they are in the input |
| `key` | the code's key, as `/v1/predict` names it: who has the text can make it again |
| `code` | the code itself, if asked for |
| `TASK`, `TASK_score`, `TASK_scores` | answers, see `app.tasks.answer_columns` |
| `error` | why the row has none of these; null where it has |
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.tasks.answer_columns import AnswerColumns, refuse_twins
from app.tasks.plans import Plan
from bulk.plan import FORMAT, Block, Refused
from models.codes import Codes

FILE, ROW, KEY, CODE, ERROR = "file", "row", "key", "code", "error"


@dataclass(frozen=True)
class Shape:
    """Which columns the output has.

    Attributes:
        place: give the file and the row's number in it.
        copied: fields of the input that are copied.
        codes: give the codes.
        scores: give every label's probability.
        prefix: before the names of our columns.
        plan: of the heads.
        code_bytes: width of a code.
        run: digest of the run.
    """

    place: bool
    copied: tuple[Any, ...]
    codes: bool
    scores: bool
    prefix: str
    plan: Plan
    code_bytes: int
    run: str

    def schema(self) -> Any:
        """The output's.

        Raises:
            Refused: two columns would have one name.
        """
        fields = [*self._places(), *self.copied, self._field(KEY, pa.string())]
        if self.codes:
            fields.append(self._field(CODE, pa.binary(self.code_bytes)))
        fields += AnswerColumns(self.plan, self.scores, self.prefix).fields
        fields.append(self._field(ERROR, pa.string()))
        try:
            refuse_twins(fields)
        except ValueError as error:
            raise Refused(f"{error}, or give --prefix") from None
        return pa.schema(fields, {"format": FORMAT, "run": self.run})

    def _places(self) -> list[Any]:
        if not self.place:
            return []
        return [
            self._field(FILE, pa.dictionary(pa.int32(), pa.string())),
            self._field(ROW, pa.int64()),
        ]

    def _field(self, name: str, kind: Any) -> Any:
        return pa.field(self.prefix + name, kind)


@dataclass(frozen=True)
class Answered:
    """What became of a block's rows.

    Attributes:
        places: rows that have a code, in order.
        digests: of their texts.
        codes: `(len(places), code_bytes)`.
        faults: why the others have none, by row.
    """

    places: Sequence[int]
    digests: Sequence[bytes]
    codes: Codes
    faults: Mapping[int, str]


def written(shape: Shape, block: Block, copied: Any, answered: Answered) -> bytes:
    """A block's file. The same rows give the same bytes."""
    schema = shape.schema()
    columns: list[Any] = []
    if shape.place:
        numbers = pa.array(np.zeros(block.rows, dtype=np.int32))
        columns.append(pa.DictionaryArray.from_arrays(numbers, pa.array([block.path])))
        columns.append(pa.array(np.arange(block.first, block.first + block.rows)))
    columns += [copied.column(field.name).combine_chunks() for field in shape.copied]
    found = _indices(answered.places, block.rows)
    keys = pa.array([digest.hex() for digest in answered.digests], pa.string())
    made = [keys]
    if shape.codes:
        width = pa.binary(shape.code_bytes)
        made.append(pa.FixedSizeBinaryArray.from_buffers(width, len(keys), _buffers(answered)))
    made += AnswerColumns(shape.plan, shape.scores).of(answered.codes)
    columns += [column.take(found) for column in made]
    columns.append(pa.array([answered.faults.get(n) for n in range(block.rows)], pa.string()))
    table = pa.Table.from_arrays(columns, schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _indices(places: Sequence[int], rows: int) -> Any:
    """Of each row its place among the answered ones; null where it is none of them."""
    found: NDArray[np.int64] = np.full(rows, -1, dtype=np.int64)
    found[np.asarray(places, dtype=np.int64)] = np.arange(len(places))
    return pa.array(found, mask=found < 0)


def _buffers(answered: Answered) -> list[Any]:
    return [None, pa.py_buffer(np.ascontiguousarray(answered.codes).tobytes())]
