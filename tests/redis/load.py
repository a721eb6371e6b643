"""Requests in the background of a fault, each answer checked."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx

from tests.conftest import ServiceProcess, wait_for


class Load:
    """Clients that ask one text after another; answers must be those of before the fault."""

    def __init__(
        self,
        service: ServiceProcess,
        texts: list[str],
        clients: int = 4,
        tasks: list[str] | None = None,
    ) -> None:
        self._service = service
        self._tasks = tasks
        self._texts = texts
        self._expected = {text: self._ask(text) for text in texts}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        self.answers = 0
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.slowest = 0.0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, count: int, what: str) -> None:
        """Wait until there are so many more."""
        answered = self.answers
        wait_for(lambda: self.answers > answered + count or bool(self.failed), 60, what)

    def wait_for_hits(self, count: int, what: str) -> None:
        """Wait until so many more texts were found in the cache."""
        hits = self._service.metric("polyhead_cache_hits_total")
        wait_for(lambda: self._service.metric("polyhead_cache_hits_total") > hits + count, 60, what)

    def _ask(self, text: str) -> Any:
        (row,) = self._service.predict(text, tasks=self._tasks)["data"]
        return row["predictions"]

    def _run(self, number: int) -> None:
        place = number
        while not self._stop.is_set():
            text = self._texts[place % len(self._texts)]
            place += 1
            started = time.monotonic()
            try:
                answer = self._ask(text)
            except (AssertionError, httpx.HTTPError) as error:
                self.failed.append(repr(error)[:300])
                continue
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.answers += 1
            if answer != self._expected[text]:
                self.wrong.append(text)


def texts(count: int, about: str) -> list[str]:
    return [f"{about}, number {n}" for n in range(count)]
