"""Whether an output holds exactly one row for each of the input's, and the right one.

The input is read again. Of every row the key is made anew from its text: a row that is lost,
doubled, moved or of another text shows. Files are compared with the digests of their receipts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import pyarrow.parquet as pq

from app.cache.keys import digest_texts
from app.tasks.lookup import Limits
from bulk.ledger import Ledger
from bulk.plan import Block, Receipt, SourceFile, blocks_of, compare, run_digest
from bulk.rows import texts_of, values_of
from bulk.source import Source
from bulk.storage import Folder
from bulk.table import ERROR, FILE, KEY, ROW

AT_ONCE = 4
SHOWN = 20  # problems; more of them say no more


def verify(source_url: str, out_url: str) -> dict[str, Any]:
    """Look at all of an output.

    Returns:
        `rows` and `blocks` that were looked at, `bad_rows`, and `problems`, of which there are none
        in an output that is complete and right.

    Raises:
        Refused: there is no run, or it is of another input.
    """
    ledger = Ledger(Folder(out_url))
    spec = ledger.spec()
    source = Source(source_url)
    files, _ = source.files(spec["text_column"], [name for name, _ in spec["copied"]])
    compare(spec, {"files": [asdict(file) for file in files]})
    found = [SourceFile(**file) for file in spec["files"]]
    blocks = blocks_of(found, spec["block_rows"])
    done = ledger.done(run_digest(spec), blocks)
    check = Check(source, ledger, spec)
    names = {block.name for block in blocks}
    problems = [
        f"{name} belongs to no block"
        for name in ledger.folder.sizes()
        if name.startswith("block-") and name not in names
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for some in pool.map(lambda block: check.block(block, done.get(block.number)), blocks):
            problems += some
    return {
        "rows": sum(one.rows for one in done.values()),
        "input_rows": sum(file.rows for file in found),
        "bad_rows": sum(one.bad for one in done.values()),
        "blocks": len(done),
        "problems": problems[:SHOWN],
    }


class Check:
    """Compares blocks with the input."""

    def __init__(self, source: Source, ledger: Ledger, spec: Mapping[str, Any]) -> None:
        self._source = source
        self._ledger = ledger
        self._spec = spec

    def block(self, block: Block, receipt: Receipt | None) -> list[str]:
        """What is wrong with a block."""
        if receipt is None:
            return [f"{block.name} is not done"]
        data = self._ledger.folder.read(block.name)
        if sha256(data).hexdigest() != receipt.sha256:
            return [f"{block.name} is not what was written"]
        table = pq.read_table(io.BytesIO(data))
        if table.num_rows != block.rows:
            return [f"{block.name} has {table.num_rows} rows, the input has {block.rows}"]
        return [f"{block.name}: {problem}" for problem in self._rows(block, table)]

    def _rows(self, block: Block, table: Any) -> Iterator[str]:
        spec, prefix = self._spec, self._spec["prefix"]
        copied = [name for name, _ in spec["copied"]]
        rows = self._source.rows(block, [spec["text_column"], *copied])
        if not spec["key_column"]:
            places = list(range(block.first, block.first + block.rows))
            if table.column(prefix + ROW).to_pylist() != places:
                yield "rows are numbered otherwise"
            if set(table.column(prefix + FILE).to_pylist()) - {block.path}:
                yield "rows are of another file"
        for name in copied:
            if not table.column(name).combine_chunks().equals(rows.column(name).combine_chunks()):
                yield f"column {name!r} is not the input's"
        yield from self._answers(
            values_of(rows.column(spec["text_column"])),
            table.column(prefix + KEY).to_pylist(),
            table.column(prefix + ERROR).to_pylist(),
        )

    def _answers(
        self, values: list[bytes | None], keys: list[str | None], errors: list[str | None]
    ) -> Iterator[str]:
        texts = texts_of(values, Limits(1, self._spec["max_text_kb"] * 1024))
        digests = digest_texts(self._spec["encoder"], texts.good)
        expected: dict[int, str] = {
            place: digest.hex() for place, digest in zip(texts.places, digests, strict=True)
        }
        for place, (key, error) in enumerate(zip(keys, errors, strict=True)):
            if (key is None) == (error is None):
                yield f"row {place} has {'neither' if key is None else 'both'} answer and error"
            elif key is not None and key != expected.get(place):
                yield f"row {place} answers another text"
            elif error is not None and self._spec["truncate"] and place in expected:
                yield f"row {place} is said to be bad: {error}"
