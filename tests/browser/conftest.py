"""A real Chromium, without a window, on a service of its own.

Skipped where playwright or a Chromium is missing. `POLYHEAD_CHROMIUM` names the executable, and
`POLYHEAD_SCREENSHOTS` a folder that keeps the pictures.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, ServiceProcess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Of a busy machine: nothing here is timed.
PATIENCE_MS = 90_000
EXAMPLE = ROOT / "examples" / "card-support.csv"


def chromium() -> str | None:
    """The browser's executable."""
    found = filter(None, (os.environ.get("POLYHEAD_CHROMIUM"), *map(shutil.which, NAMES)))
    return next(found, None)


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that only these tests change."""
    if chromium() is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)}, nor POLYHEAD_CHROMIUM")
    process = ServiceProcess("all", tmp_path_factory.mktemp("console")).start()
    yield process
    process.stop()


# Of a module, not of the session: while it is open, its event loop is the thread's, and tests
# elsewhere that bring their own could not run.
@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    path = chromium()
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)}, nor POLYHEAD_CHROMIUM")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            # Chromium's own sandbox cannot be had by root or in most containers.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
            timeout=PATIENCE_MS,
        )
        yield browser
        browser.close()


class Visit:
    """A page of the console that remembers what should not have happened."""

    def __init__(self, browser: Any, service: ServiceProcess, **options: Any) -> None:
        self.service = service
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.excused: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("dialog", self._refuse)
        self.page.on("request", self._follow)

    def excuse(self, pattern: str) -> None:
        """Let a complaint be that a test brings about by intention."""
        self.excused.append(pattern)

    def open(self, address: str, ready: str = "main h1") -> Any:
        """Go to a view and wait until `ready` is there."""
        self.page.goto(f"{self.service.url}/{address}")
        self.page.locator(ready).first.wait_for()
        return self.page

    def check(self) -> None:
        """Nothing was complained about, and nobody else was asked for anything."""
        left = [
            line
            for line in self.complaints
            if not any(re.search(pattern, line) for pattern in self.excused)
        ]
        assert not left
        assert not self.elsewhere

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _refuse(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _follow(self, request: Any) -> None:
        if not request.url.startswith((self.service.url, "data:", "blob:")):
            self.elsewhere.append(request.url)


@pytest.fixture
def visit(chrome: Any, console: ServiceProcess) -> Iterator[Callable[..., Visit]]:
    """Open pages of the console; at the end of the test they must have nothing to complain of."""
    visits: list[Visit] = []

    def start(service: ServiceProcess = console, **options: Any) -> Visit:
        visits.append(Visit(chrome, service, **options))
        return visits[-1]

    yield start
    try:
        for one in visits:
            one.check()
    finally:
        for one in visits:
            one.context.close()


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Any, str], Path]:
    """Take a picture of a whole page."""
    folder = Path(os.environ.get("POLYHEAD_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Any, name: str) -> Path:
        page.evaluate("scrollTo(0, 0)")
        file = folder / f"{name}.png"
        whole = not page.locator("dialog[open]").count()  # which covers what is in sight alone
        page.screenshot(path=file, full_page=whole, animations="disabled")
        return file

    return take


def train(service: ServiceProcess, task: str, rows: list[tuple[str, str]], **options: Any) -> int:
    """Train a version over HTTP, for tests that begin after that."""
    service.http.put(f"/v1/tasks/{task}", json={}).raise_for_status()
    examples = [{"text": text, "label": label} for text, label in rows]
    return train_rows(service, task, examples, **options)


def train_rows(
    service: ServiceProcess, task: str, examples: list[dict[str, Any]], **options: Any
) -> int:
    """The same for a task that is there, of any kind."""
    answer = service.http.post(f"/v1/tasks/{task}/versions", json={"examples": examples, **options})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while job["status"] not in ("succeeded", "failed"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = service.http.get(f"/v1/jobs/{job['id']}").json()
    assert job["status"] == "succeeded", job
    version: int = job["version"]
    return version


def support_rows() -> list[tuple[str, str]]:
    """The 200 questions of the example."""
    with EXAMPLE.open(newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]
