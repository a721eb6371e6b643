"""The input: its files, their columns, and rows of a block."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bulk.plan import Block, Refused, SourceFile
from bulk.storage import Folder

READERS = 16  # footers read at the same time: each is a round trip on an object store
BATCH = 8_192


class Source:
    """A Parquet file, or all `*.parquet` under a folder, in the order of their paths.

    Names that begin with `_` or `.` are left out, as readers of data sets do.
    """

    def __init__(self, url: str) -> None:
        folder = Folder(url)
        self._single = ""
        if folder.is_file():
            folder, self._single = folder.parent()
        self._folder = folder
        self._url = url

    def files(self, text_column: str, others: Sequence[str]) -> tuple[list[SourceFile], Any]:
        """The files, and the fields of `others`. Reads every footer.

        Raises:
            Refused: there is no file, one is no Parquet file or lacks a column, or they do not
                agree on the type of one that is copied.
        """
        names = [self._single] if self._single else sorted(filter(_is_data, self._paths()))
        if not names:
            raise Refused(f"{self._url} holds no Parquet file")
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(lambda name: self._footer(name, text_column), names))
        fields: list[Any] = []
        for column in others:
            found = [_field(schema, column, file.path) for file, schema in read]
            for (file, _), field in zip(read, found, strict=True):
                if field.type != found[0].type:
                    raise Refused(
                        f"column {column!r} is {found[0].type} in {read[0][0].path} "
                        f"and {field.type} in {file.path}"
                    )
            fields.append(pa.field(column, found[0].type))
        return [file for file, _ in read], fields

    def rows(self, block: Block, columns: Sequence[str]) -> Any:
        """A block's rows, these columns, as a table.

        Raises:
            Refused: the file has not these rows any more.
        """
        columns = list(dict.fromkeys(columns))
        with self._folder.open(block.path) as opened:
            file = pq.ParquetFile(opened)
            groups, before = _groups(file.metadata, block.first, block.rows)
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            skip, held, count = block.first - before, [], 0
            if groups:
                for batch in file.iter_batches(BATCH, row_groups=groups, columns=columns):
                    some = batch.slice(skip, block.rows - count)
                    skip = max(0, skip - batch.num_rows)
                    if some.num_rows:
                        held.append(some)
                        count += some.num_rows
                    if count == block.rows:
                        break
        if count != block.rows:
            raise Refused(f"{block.path} has changed: row {block.first + count} is not there")
        return pa.Table.from_batches(held, held[0].schema if held else schema).select(columns)

    def _paths(self) -> list[str]:
        return list(self._folder.sizes(recursive=True))

    def _footer(self, name: str, text_column: str) -> tuple[SourceFile, Any]:
        with self._folder.open(name) as opened:
            size = opened.size()
            try:
                file = pq.ParquetFile(opened)
            except pa.ArrowInvalid:
                raise Refused(f"{name} is no Parquet file") from None
            opened.seek(size - 8)
            length = int.from_bytes(opened.read(4), "little")
            opened.seek(size - 8 - length)
            digest = hashlib.sha256(opened.read(length)).hexdigest()
            schema, rows = file.schema_arrow, file.metadata.num_rows
        kind = _field(schema, text_column, name).type
        if not _may_hold_text(kind):
            raise Refused(f"column {text_column!r} of {name} holds {kind}, not text")
        return SourceFile(name, size, rows, digest), schema


def _is_data(path: str) -> bool:
    hidden = any(part.startswith(("_", ".")) for part in path.split("/"))
    return path.endswith(".parquet") and not hidden


def _field(schema: Any, column: str, path: str) -> Any:
    if schema.names.count(column) != 1:
        which = "several columns" if column in schema.names else "no column"
        raise Refused(f"{path} has {which} {column!r} but {', '.join(schema.names)}")
    return schema.field(column)


def _may_hold_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_null,
        )
    )


def _groups(metadata: Any, first: int, rows: int) -> tuple[list[int], int]:
    """Row groups that hold some of these rows, and how many rows come before them."""
    groups: list[int] = []
    start = before = 0
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        if start < first + rows and start + count > first:
            groups.append(number)
        elif not groups:
            before = start + count
        start += count
    return groups, before
