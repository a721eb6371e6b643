"""Parquet in and out. Needs pyarrow (`polyhead[parquet]`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ValueError("bulk needs pyarrow: pip install 'polyhead[cli,parquet]'") from error

from .._columns import Cell, Column
from .._each import Bad

TYPES = {"string": pa.string(), "strings": pa.list_(pa.string()), "number": pa.float64()}


class Source:
    """A Parquet file, read in parts of equal size from any part on."""

    def __init__(self, path: Path, text_column: str) -> None:
        """Read its footer.

        Raises:
            ValueError: It is no Parquet file, or has no such column of strings.
            OSError: It cannot be read.
        """
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is no Parquet file: {error}") from None
        self._path = path
        self.schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        names = self.schema.names
        if names.count(text_column) != 1:
            raise ValueError(
                f"{path} has {'several columns' if text_column in names else 'no column'} "
                f"{text_column!r} but {', '.join(names)}: --text-column names another"
            )
        kind = self.schema.field(text_column).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"column {text_column!r} of {path} holds {kind}, not strings")

    def identity(self) -> dict[str, Any]:
        """What tells this file from another: its size and a digest of its footer.

        The footer holds where every column chunk lies and, mostly, its least and greatest value.
        """
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(size - 8)
            length = int.from_bytes(file.read(4), "little")
            file.seek(size - 8 - length)
            digest = hashlib.sha256(file.read(length)).hexdigest()
        return {"bytes": size, "rows": self.rows, "footer": digest}

    def parts(self, size: int, first: int = 0) -> Iterator[pa.Table]:
        """Tables of `size` rows (the last one may be shorter), from part `first` on."""
        start = first * size
        groups: list[int] = []
        before = 0
        for number in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(number).num_rows
            if groups or before + rows > start:
                groups.append(number)
            else:
                before += rows
        if not groups:
            return
        skip, held, count = start - before, [], 0
        for batch in self._file.iter_batches(batch_size=min(size, 65_536), row_groups=groups):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            held.append(batch.slice(skip))
            count += batch.num_rows - skip
            skip = 0
            while count >= size:
                table = pa.Table.from_batches(held, self.schema)
                yield table.slice(0, size)
                held, count = table.slice(size).to_batches(), count - size
        if count:
            yield pa.Table.from_batches(held, self.schema)


def check_names(schema: pa.Schema, columns: Sequence[Column], error_column: str) -> None:
    """Refuse columns of answers that the input has already.

    Raises:
        ValueError: There is one.
    """
    for name in [*(column.name for column in columns), error_column]:
        if name in schema.names:
            raise ValueError(f"the input has a column {name!r} already: --prefix renames ours")


def write_part(
    path: Path,
    table: pa.Table,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    error_column: str,
    errors: Sequence[str | None],
) -> None:
    """The rows of a part with their answers.

    Args:
        path: Where to.
        table: The input's rows.
        columns: Of the answers.
        rows: The cells of each row, in the order of the columns.
        error_column: Name of the column that says why a row has no answer.
        errors: What it says; None for rows with an answer.
    """
    for place, column in enumerate(columns):
        values = pa.array([row[place] for row in rows], TYPES[column.type])
        table = table.append_column(column.name, values)
    table = table.append_column(error_column, pa.array(errors, pa.string()))
    pq.write_table(table, path, compression="zstd")


def merge_parts(paths: Sequence[Path], out: Path, source: Source) -> None:
    """One file out of all parts, in order.

    Raises:
        ValueError: They have not one row for each of the input's.
    """
    schema = pq.read_schema(paths[0])
    rows = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for path in paths:
            part = pq.ParquetFile(path)
            for group in range(part.num_row_groups):
                table = part.read_row_group(group)
                rows += table.num_rows
                writer.write_table(table)
    if rows != source.rows:
        raise ValueError(f"the parts have {rows} rows, the input has {source.rows}: --restart")


def bad_lines(table: pa.Table, first: int, faults: dict[int, Bad]) -> list[str]:
    """Lines of JSON for bad rows: their number in the input (from 0), why, and their values."""
    lines = []
    for place, fault in faults.items():
        (values,) = table.slice(place, 1).to_pylist()
        record = {"row": first + place, "error": fault.reason, "values": values}
        lines.append(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    return lines
