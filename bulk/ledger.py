"""The output's folder: what is done, by files that are whole or not there.

    _run.json               what is done, by whom: written first
    _receipts/00000007.json what became of a block; written before
    block-00000007.parquet  its rows, which make it done
    _blocks.json            all receipts in order, and
    _report.json            the report: written last
    _partial/               files on their way

Two runs of the same at once do the same work twice, and no harm: they write the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from bulk.plan import Block, Receipt, Refused, compare, run_digest
from bulk.storage import PARTIAL, Folder

RUN, RECEIPTS, BLOCKS, REPORT = "_run.json", "_receipts", "_blocks.json", "_report.json"
READERS = 16


class Ledger:
    """The folder of one output."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def begin(self, spec: Mapping[str, Any], *, restart: bool) -> str:
        """Note what is about to be done, or find that it was begun.

        Returns:
            The run's digest.

        Raises:
            Refused: something else is there.
        """
        there = self.folder.sizes()
        if restart:
            self._clear(there)
        elif RUN in there:
            compare(self.spec(), spec)
            return run_digest(spec)
        elif there:
            raise Refused(f"{self.folder.url} holds other files: a new folder, please")
        self.folder.write(RUN, json.dumps(dict(spec), indent=1).encode())
        return run_digest(spec)

    def spec(self) -> dict[str, Any]:
        """What the run in this folder is.

        Raises:
            Refused: there is none.
        """
        try:
            found = json.loads(self.folder.read(RUN))
        except FileNotFoundError:
            raise Refused(f"{self.folder.url} holds no run of polyhead-bulk") from None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(f"{RUN} is damaged; --restart starts anew")
        return found

    def done(self, run: str, blocks: Sequence[Block]) -> dict[int, Receipt]:
        """Receipts of the blocks that are done."""
        sizes = self.folder.sizes()
        candidates = [block for block in blocks if block.name in sizes]
        with ThreadPoolExecutor(READERS) as pool:
            receipts = list(pool.map(self._receipt, candidates))
        return {
            block.number: receipt
            for block, receipt in zip(candidates, receipts, strict=True)
            if receipt is not None
            and receipt.run == run
            and receipt.number == block.number
            and receipt.rows == block.rows
            and receipt.size == sizes[block.name]
        }

    def commit(self, block: Block, data: bytes, receipt: Receipt) -> Receipt:
        """Make a block done, with the receipt that says so."""
        receipt = replace(receipt, size=len(data), sha256=sha256(data).hexdigest())
        self.folder.write(_receipt_name(block), receipt.to_json())
        self.folder.write(block.name, data)
        return receipt

    def finish(self, receipts: Iterable[Receipt], report: Mapping[str, Any]) -> None:
        """Say what was done, and leave nothing else behind."""
        listed = [asdict(one) for one in sorted(receipts, key=lambda one: one.number)]
        self.folder.write(BLOCKS, json.dumps(listed).encode())
        self.folder.write(REPORT, json.dumps(report, indent=1).encode())
        self.folder.delete_folder(PARTIAL)

    def _receipt(self, block: Block) -> Receipt | None:
        try:
            return Receipt.from_json(self.folder.read(_receipt_name(block)))
        except FileNotFoundError:
            return None

    def _clear(self, there: Iterable[str]) -> None:
        """Throw away what a run left. Its name goes last: until then it can be gone on with."""
        for name in there:
            if name.startswith("block-") and name.endswith(".parquet"):
                self.folder.delete(name)
        for name in (BLOCKS, REPORT):
            self.folder.delete(name)
        for name in (RECEIPTS, PARTIAL):
            self.folder.delete_folder(name)
        self.folder.delete(RUN)


def _receipt_name(block: Block) -> str:
    return f"{RECEIPTS}/{block.number:08}.json"
