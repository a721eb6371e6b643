"""The work of a bulk run on disk, so that a killed one goes on where it was.

Beside `OUT` lies a folder `OUT.parts` until the end:

    run.json            what is done: the input, the columns, the heads that answer
    000000.parquet      the first part of the output: input rows 0 to `part_rows`
    000000.bad.jsonl    its bad rows
    000001.parquet ...

Each file is written under another name, flushed to the disk and renamed: it is whole or not there.
The end is in such an order that a kill at any point leaves a run that can be run again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: two runs at once are not noticed there
    fcntl = None  # type: ignore[assignment]

FORMAT = 1


class Parts:
    """The parts of one output."""

    def __init__(self, out: Path, bad: Path) -> None:
        """Nothing is looked at yet.

        Args:
            out: The file that is made in the end.
            bad: The file of bad rows, if there are any.
        """
        self.out = out
        self.bad = bad
        self.folder = out.with_name(out.name + ".parts")
        self._ended = out.with_name(out.name + ".parts.done")

    def begin(self, run: Mapping[str, Any], *, restart: bool, overwrite: bool) -> int:
        """Make the folder, or go on in the one that is there.

        Args:
            run: What is done, in JSON's types.
            restart: Throw away what an earlier run did.
            overwrite: Whether an output that is there may be replaced.

        Returns:
            How many parts are done already.

        Raises:
            ValueError: The output is there, or an earlier run did something else; the message says
                what.
        """
        shutil.rmtree(self._ended, ignore_errors=True)
        if restart:
            shutil.rmtree(self.folder, ignore_errors=True)
        manifest = self.folder / "run.json"
        run = {"format": FORMAT, **run}
        if manifest.is_file():
            self._compare(json.loads(manifest.read_text(encoding="utf-8")), run)
            return self._count()
        for file in (self.out, self.bad):
            if file.exists() and not overwrite:
                raise ValueError(f"{file} is there already: --overwrite replaces it")
        self.folder.mkdir(parents=True, exist_ok=True)
        with written(manifest) as path:
            path.write_text(json.dumps(run), encoding="utf-8")
        return 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs away from the output; a lock ends with its process, however that ends.

        Raises:
            ValueError: Another run is at work.
        """
        # Beside the folder, which comes and goes.
        name = self.out.with_name(f".{self.out.name}.lock")
        with name.open("w") as file:
            _lock(file, name, f"another run is writing {self.out}")
            try:
                yield
            finally:
                name.unlink(missing_ok=True)

    def paths(self, number: int) -> tuple[Path, Path]:
        """A part's rows and its bad rows."""
        return self.folder / f"{number:06}.parquet", self.folder / f"{number:06}.bad.jsonl"

    def bad_rows(self) -> int:
        """How many bad rows the parts have so far."""
        files = self.folder.glob("*.bad.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def finish(self, count: int, merge: Callable[[list[Path], Path], None]) -> None:
        """Make the output out of all parts, and leave nothing else behind.

        Args:
            count: How many parts there are.
            merge: Writes one file out of several.
        """
        found = [self.paths(number) for number in range(count)]
        if any(bad.is_file() for _, bad in found):
            with written(self.bad) as path, path.open("wb") as file:
                for _, bad in found:
                    if bad.is_file():
                        file.write(bad.read_bytes())
        else:
            self.bad.unlink(missing_ok=True)  # of the output that is now replaced
        with written(self.out) as path:
            merge([rows for rows, _ in found], path)
        # Renamed before it is emptied: half a folder would look like a run to go on with.
        self.folder.replace(self._ended)
        shutil.rmtree(self._ended, ignore_errors=True)

    def _count(self) -> int:
        number = 0
        while self.paths(number)[0].is_file():
            number += 1
        return number

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name, value in now.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{self.folder} holds a run with another {name.replace('_', ' ')}: "
                    f"{_told(before.get(name))}, now {_told(value)}; --restart starts anew"
                )


def _told(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _lock(file: IO[str], name: Path, message: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A run that ended just now may have taken the name away: the next one locks another file.
        same = os.fstat(file.fileno()).st_ino == name.stat().st_ino
    except OSError:
        same = False
    if not same:
        raise ValueError(message)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path to write to, which takes its place when all is written and on the disk."""
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _to_disk(partial)
    partial.replace(path)
    if os.name == "posix":
        _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
