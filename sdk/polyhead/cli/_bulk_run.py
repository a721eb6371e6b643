"""The pipeline of a bulk run: read a part, ask, write it, while the next one is asked."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._client import Client
from .._columns import cells_of, columns_of, error_column
from .._each import Bad, answer_each
from .._errors import Conflict
from .._types import Predictions, Result
from ._bulk_parts import Parts, written
from ._bulk_table import Source, bad_lines, check_names, merge_parts, write_part

REQUEST = 256
"""Rows asked about in one request."""

Answer = Result | Bad
Asked = tuple[Any, list[Future[list[Answer]]]]
"""The rows of a part, and their answers to come."""


@dataclass
class Counts:
    """What a run did."""

    rows: int = 0
    resumed: int = 0
    bad: int = 0
    cached: int = 0
    encoded: int = 0


@dataclass(frozen=True)
class Heads:
    """Who answers: fixed when a run begins, so that a file is never half of one version."""

    kinds: Mapping[str, str]
    versions: Mapping[str, int]
    encoder: str

    def check(self, answers: Predictions) -> None:
        """Refuse answers of others.

        Raises:
            Conflict: The encoder or a version is another one now.
        """
        found = {name: one.version for name, one in answers[0].predictions.items()}
        if answers.encoder != self.encoder or found != dict(self.versions):
            raise Conflict(
                409,
                "the encoder or a task's active version changed since this run began: activate "
                "what answered before and run it again, or --restart",
            )


def choose_heads(client: Client, names: Sequence[str] | None) -> Heads:
    """The tasks that are asked for, and the versions that answer now.

    Raises:
        NotFound: A task is unknown.
        ValueError: A task has no active version.
    """
    if names is None:
        tasks = [task for task in client.tasks.list() if task.active_version is not None]
    else:
        tasks = [client.tasks.get(name) for name in names]
    versions = {}
    for task in tasks:
        if task.active_version is None:
            raise ValueError(f"{task.name} has no active version: `polyhead train` makes one")
        versions[task.name] = task.active_version
    if not versions:
        raise ValueError("there is no task to ask")
    encoder = client.info()["encoder"]["fingerprint"]
    return Heads({task.name: task.kind for task in tasks}, versions, str(encoder))


class Run:
    """One bulk run."""

    def __init__(
        self,
        client: Client,
        source: Source,
        parts: Parts,
        heads: Heads,
        *,
        text_column: str,
        prefix: str,
        truncate: bool,
        concurrency: int,
    ) -> None:
        """Nothing is asked yet.

        Raises:
            ValueError: The input has a column of the name of one of ours.
        """
        self._client = client
        self._source = source
        self._parts = parts
        self._heads = heads
        self._text_column = text_column
        self._error_column = error_column(prefix)
        self._truncate = truncate
        self._concurrency = concurrency
        self._columns = columns_of(heads.kinds, prefix)
        self._lock = threading.Lock()
        self.counts = Counts()
        check_names(source.schema, self._columns, self._error_column)

    def manifest(self, part_rows: int) -> dict[str, Any]:
        """What must be the same when a run goes on."""
        return {
            "input": self._source.identity(),
            "text_column": self._text_column,
            "columns": [[column.name, column.type] for column in self._columns],
            "part_rows": part_rows,
            "truncate": self._truncate,
            "encoder": self._heads.encoder,
            "versions": dict(self._heads.versions),
        }

    def go(self, part_rows: int, done: int, progress: Callable[[int], None]) -> Counts:
        """Ask for every row from part `done` on, and make the output.

        Args:
            part_rows: Rows in a part.
            done: Parts that an earlier run has done.
            progress: Is told how many more rows are answered, by any thread.
        """
        counts = self.counts
        counts.rows = self._source.rows
        counts.resumed = min(done * part_rows, counts.rows)
        number = done
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="polyhead-bulk")
        try:
            for table, futures in self._ahead(pool, part_rows, done, progress):
                answers = [answer for future in futures for answer in future.result()]
                self._write(number, number * part_rows, table, answers)
                number += 1
        finally:
            # After a failure or Ctrl-C nothing is waited for: what was asked is in the cache.
            pool.shutdown(wait=False, cancel_futures=True)
        if number == 0:
            self._write(0, 0, self._source.schema.empty_table(), [])
            number = 1
        counts.bad = self._parts.bad_rows()
        self._parts.finish(number, lambda paths, out: merge_parts(paths, out, self._source))
        return counts

    def _ahead(
        self, pool: ThreadPoolExecutor, size: int, done: int, progress: Callable[[int], None]
    ) -> Iterator[Asked]:
        """Parts with their answers to come; the next one is asked before one is waited for."""
        waiting: deque[Asked] = deque()
        for table in self._source.parts(size, done):
            texts = table.column(self._text_column).to_pylist()
            futures = [
                pool.submit(self._ask, texts[start : start + REQUEST], progress)
                for start in range(0, len(texts), REQUEST)
            ]
            waiting.append((table, futures))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

    def _ask(self, texts: list[object], progress: Callable[[int], None]) -> list[Answer]:
        def ask(some: list[str]) -> Predictions:
            answers = self._client.predict(some, list(self._heads.kinds), truncate=self._truncate)
            self._heads.check(answers)
            with self._lock:
                self.counts.cached += answers.usage.cached or 0
                self.counts.encoded += answers.usage.encoded or 0
            return answers

        results = answer_each(ask, texts, REQUEST)
        progress(len(texts))
        return results

    def _write(self, number: int, first: int, table: Any, answers: Sequence[Answer]) -> None:
        faults = {n: one for n, one in enumerate(answers) if isinstance(one, Bad)}
        rows = [
            cells_of(self._heads.kinds, None if isinstance(one, Bad) else one.predictions)
            for one in answers
        ]
        errors = [one.reason if isinstance(one, Bad) else None for one in answers]
        path, bad = self._parts.paths(number)
        if faults:  # before the rows: a part counts as done when its rows are there
            _write_lines(bad, bad_lines(table, first, faults))
        with written(path) as partial:
            write_part(partial, table, self._columns, rows, self._error_column, errors)


def _write_lines(path: Path, lines: list[str]) -> None:
    with written(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
