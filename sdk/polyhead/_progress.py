"""A progress bar on stderr: tqdm's where it is installed, else a line of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol, TextIO

WIDTH = 30
"""Characters of our own bar."""


class Bar(Protocol):
    """Shows how far something is."""

    def show(self, fraction: float, stage: str) -> None:
        """Show a fraction, 0 to 1, and what is being done."""

    def close(self) -> None:
        """Leave the line."""


class _Silent:
    def show(self, fraction: float, stage: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Line:
    """One line, written over itself, and only when it changes."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream = stream
        self._last = ""

    def show(self, fraction: float, stage: str) -> None:
        done = round(WIDTH * fraction)
        line = f"{self._title} [{'#' * done}{'.' * (WIDTH - done)}] {fraction:4.0%} {stage}"
        if line != self._last:
            self._stream.write(f"\r{line.ljust(len(self._last))}")
            self._stream.flush()
            self._last = line

    def close(self) -> None:
        if self._last:
            self._stream.write("\n")
            self._stream.flush()


class _Tqdm:
    """The same through tqdm, whose `total` is 1."""

    def __init__(self, tqdm: Any, title: str, stream: TextIO) -> None:
        layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self._bar = tqdm(total=1.0, desc=title, file=stream, bar_format=layout)

    def show(self, fraction: float, stage: str) -> None:
        self._bar.n = fraction
        self._bar.set_postfix_str(stage)

    def close(self) -> None:
        self._bar.close()


def _make(progress: bool | None, title: str, stream: TextIO | None) -> Bar:
    if stream is None or progress is False or (progress is None and not stream.isatty()):
        return _Silent()
    try:
        tqdm = import_module("tqdm").tqdm
    except ImportError:
        return _Line(title, stream)
    return _Tqdm(tqdm, title, stream)


@contextmanager
def progress_bar(progress: bool | None, title: str) -> Iterator[Bar]:
    """A bar for the length of a block.

    Args:
        progress: Show it; None asks whether stderr is a terminal.
        title: Stands before it.
    """
    # Without a console (a service, a windowed program) `sys.stderr` is None.
    bar = _make(progress, title, sys.stderr)
    try:
        yield bar
    finally:
        bar.close()
