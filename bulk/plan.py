"""What a run consists of: files, blocks of their rows, and what must stay the same. Pure.

A *block* is a range of rows of one file. It is the unit of everything: one actor does it at a time,
it becomes one file of the output, and it is what a death can cost. The blocks follow from the files
and the block size alone, so that a run that goes on has the blocks that it had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.artifact import digest_json

FORMAT = "polyhead-bulk/1"


class Refused(Exception):
    """What a run cannot do, and that the caller can do something about."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Parquet file of the input.

    Attributes:
        path: under the input's root, with slashes; the file's own name where the input is a file.
        size: in bytes.
        rows: how many it holds.
        footer: digest of its footer, which says where every column chunk lies and how long it is.
    """

    path: str
    size: int
    rows: int
    footer: str


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `first` to `first + rows` of a file; `number` counts over all files."""

    number: int
    path: str
    first: int
    rows: int

    @property
    def name(self) -> str:
        """The output's file, which sorts as the input does."""
        return f"block-{self.number:08}.parquet"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a block.

    Attributes:
        run: digest of the run that it belongs to.
        number: the block's.
        rows: of the output: as many as the block has.
        bad: rows with an error in place of answers.
        cached: texts found in the cache.
        encoded: passes made; the rest of the good rows repeated a text that was under way.
        size, sha256: of the output's file.
        seconds: from the first row read to the file's renaming.
        encode_s: of these, looking up and encoding.
        node: where it was done.
        failure: why it was not done; nothing else holds then.
    """

    run: str
    number: int
    rows: int = 0
    bad: int = 0
    cached: int = 0
    encoded: int = 0
    size: int = 0
    sha256: str = ""
    seconds: float = 0.0
    encode_s: float = 0.0
    node: str = ""
    failure: str | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Receipt | None:
        """The receipt; None for what is none."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None


def blocks_of(files: Sequence[SourceFile], block_rows: int) -> list[Block]:
    """All rows of all files in blocks of `block_rows`; a file's last one may be shorter.

    Without any row there is one empty block: a data set without rows still has columns.

    Raises:
        ValueError: there is no file, or no size.
    """
    if not files or block_rows < 1:
        raise ValueError(f"{len(files)} files in blocks of {block_rows} rows make no blocks")
    places = [
        (file.path, first, min(block_rows, file.rows - first))
        for file in files
        for first in range(0, file.rows, block_rows)
    ]
    places = places or [(files[0].path, 0, 0)]
    return [Block(number, *place) for number, place in enumerate(places)]


def run_digest(spec: Mapping[str, Any]) -> str:
    """What tells a run from others: every output file carries it."""
    return digest_json(dict(spec))


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with what an earlier run began, where it was another run.

    Args:
        before: the earlier run's spec.
        now: this one's.

    Raises:
        Refused: they differ; the message says in what.
    """
    for name in now:
        old, new = before.get(name), now[name]
        if old != new:
            raise Refused(
                f"the output holds a run with {_difference(name, old, new)}; "
                "--restart throws it away and starts anew"
            )


def _difference(name: str, old: Any, new: Any) -> str:
    named = name.replace("_", " ")
    if name == "heads" and isinstance(old, dict):
        tasks = [task for task in sorted({*old, *new}) if old.get(task) != new.get(task)]
        task = tasks[0]
        return f"other heads: task {task} was {_head(old.get(task))}, is {_head(new.get(task))} now"
    if name == "files" and isinstance(old, list):
        return f"another input: {_changed_file(old, new)}"
    return f"another {named}: {_told(old)}, now {_told(new)}"


def _head(head: Mapping[str, Any] | None) -> str:
    if head is None:
        return "not asked"
    return f"version {head['version']} ({head['digest'][:12]})"


def _changed_file(old: Sequence[Any], new: Sequence[Any]) -> str:
    before, now = ({file["path"]: file for file in files} for files in (old, new))
    for path in sorted({*before, *now}):
        if path not in now:
            return f"{path} is gone"
        if path not in before:
            return f"{path} was not there"
        if before[path] != now[path]:
            return f"{path} has changed"
    return "its files are in another order"


def _told(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"
