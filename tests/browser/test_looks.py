"""Every view in light, dark and at a phone's width: pictures, accessibility, nothing too wide."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Visit, support_rows, train, train_rows
from tests.conftest import ServiceProcess

axe_api = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is not installed (pip install '.[dev]')"
)
expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Start = Callable[..., Visit]

WIDE = {"viewport": {"width": 1200, "height": 800}, "color_scheme": "light"}
PHONE = {"width": 360, "height": 740}
AXE = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}


@pytest.fixture(scope="module")
def busy(console: ServiceProcess) -> ServiceProcess:
    """The service with tasks of all kinds, a shadow, drift, and traffic."""
    rows = shuffled_rows()
    for head in ("linear", "prototype"):
        train(console, "support", rows[:120], head=head)
    for head in ("linear", "prototype"):
        train(console, "shadowed", rows[:60], head=head)
    console.http.put("/v1/tasks/shadowed/shadow", json={"version": 2}).raise_for_status()
    console.http.put("/v1/tasks/parts", json={"kind": "multi_label"}).raise_for_status()
    train_rows(console, "parts", [{"text": one, "labels": [label]} for one, label in rows[:120]])
    console.http.put("/v1/tasks/empty-task", json={"description": "Nothing yet"})
    for count in (50, 100):
        console.predict([text for text, _ in rows[:count]])
    console.predict(
        [f"Release {n} mends a fault of the program" for n in range(60)], tasks=["parts"]
    )
    return console


def shuffled_rows() -> list[tuple[str, str]]:
    """The rows of the example, whose order is not even."""
    return random.Random(0).sample(support_rows(), 200)


def ask(page: Any) -> None:
    page.locator(".samples button").first.click()
    page.locator(".answer").first.wait_for()
    page.get_by_role("button", name="Ask all tasks").click()
    page.get_by_text("0, cached").first.wait_for()


def look_into(page: Any) -> None:
    page.get_by_label("Choose a file").set_input_files(
        Path(__file__).parents[2] / "examples" / "card-support.csv"
    )
    page.get_by_text("200 rows").wait_for()


def look_into_head(page: Any) -> None:
    head = {"name": "support-2.safetensors", "mimeType": "a/b", "buffer": b"x" * 70_000}
    page.get_by_label("Choose a file").set_input_files(head)
    page.get_by_text("69 kilobytes").wait_for()


def evaluate(page: Any) -> None:
    rows = "".join(
        f'"{text}"\t{label}\n' for text, label in shuffled_rows()[120:] if '"' not in text
    )
    later = {"name": "later.tsv", "mimeType": "a/b", "buffer": f"text\tlabel\n{rows}".encode()}
    page.get_by_label("Choose a file").set_input_files(later)
    page.get_by_role("button", name="Test", exact=True).click()
    page.get_by_role("heading", name="On later.tsv").wait_for()


def ask_about_export(page: Any) -> None:
    page.get_by_role("button", name="Export version 1").click()
    page.get_by_label("Its stored codes").wait_for()


def compare(page: Any) -> None:
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_text("held out by one").wait_for()
    page.get_by_role("button", name="Make the curve").click()
    page.get_by_role("img", name="Learning curve: ").locator("canvas").wait_for()


def send_traffic(page: Any) -> None:
    latency = page.locator(".tile", has=page.get_by_text("Latency, p50", exact=True))
    post = """inputs => fetch("/v1/predict", {
      method: "POST",
      headers: {"content-type": "application/json"},
      body: JSON.stringify({inputs}),
    }).then((answer) => answer.text())"""
    for number in range(3):
        page.evaluate(post, [text for text, _ in shuffled_rows()[: 90 + 20 * number]])
        page.wait_for_timeout(1_900)
    expect(latency.locator(".value")).not_to_have_text("–")


def show_drift(page: Any) -> None:
    page.get_by_text("Live texts are").wait_for()
    expect(page.locator(".tile .value").first).to_have_text("shifted")


def fail(page: Any) -> None:
    page.route("**/v1/tasks", lambda route: route.abort())
    page.evaluate("location.hash = '#/tasks'")
    page.locator(".notice.error").wait_for()


VIEWS: dict[str, tuple[str, str, Callable[[Any], None] | None]] = {
    "try-empty": ("#/try", ".empty", None),
    "try": ("#/try", ".empty", ask),
    "tasks": ("#/tasks", ".scroll", None),
    "task": ("#/tasks/support", ".matrix", compare),
    "task-tested": ("#/tasks/support", ".drop", evaluate),
    "task-several-labels": ("#/tasks/parts", ".thresholds", show_drift),
    "task-shadow": ("#/tasks/shadowed", ".tiles", None),
    "task-export": ("#/tasks/support", ".matrix", ask_about_export),
    "task-many-labels": ("#/tasks/banking_intent", ".part", None),
    "task-empty": ("#/tasks/empty-task", ".empty", None),
    "train": ("#/train", ".drop", look_into),
    "import": ("#/train", ".drop", look_into_head),
    "live": ("#/live", ".scores", send_traffic),
    "cost": ("#/cost", ".verdict", None),
    "error": ("#/live", ".tiles", fail),
}


# Charts are drawn anew at another size or in other colours.
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))"
TOO_WIDE = """() => [
  ...(document.documentElement.scrollWidth > innerWidth ? ["the page"] : []),
  // A confusion matrix may be scrolled; other tables must not hide a column.
  ...[...document.querySelectorAll(".scroll:not(.matrix)")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.ariaLabel),
]"""


@pytest.mark.parametrize("name", list(VIEWS))
def test_a_view(
    visit: Start, busy: ServiceProcess, picture: Callable[[Any, str], Path], name: str
) -> None:
    address, ready, then = VIEWS[name]
    one = visit(busy, **WIDE)
    if name == "error":
        one.excuse("Failed to load resource")
    page = one.open(address, ready)
    if then:
        then(page)
    page.mouse.move(2, 2)
    for look in ("light", "dark", "phone"):
        page.emulate_media(color_scheme="dark" if look == "dark" else "light")
        page.set_viewport_size(PHONE if look == "phone" else WIDE["viewport"])
        page.evaluate(DRAWN)
        assert picture(page, f"{look}-{name}").stat().st_size > 5_000
        assert not page.evaluate(TOO_WIDE), look
        assert not complaints(page), look


def complaints(page: Any) -> list[str]:
    """What axe finds not accessible."""
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in axe_api.Axe().run(page, options=AXE).response["violations"]
        for node in rule["nodes"]
    ]


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Start) -> None:
    one = visit(**{**WIDE, "color_scheme": "dark"})
    page = one.open("#/live", "canvas")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light theme").click()
    light = page.evaluate(background)
    assert light != dark
    page.reload()
    page.locator("canvas").first.wait_for()
    assert page.evaluate(background) == light
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(background) == dark


def test_views_are_reached_by_name_and_have_a_title(visit: Start) -> None:
    page = visit().open("")
    for name in ("Tasks", "Train", "Live", "Cost", "Try"):
        page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(page).to_have_title(f"{name} – Polyhead")
        expect(page.locator("nav [aria-current]")).to_have_text(name)
        expect(page.locator("main h1")).to_have_count(1)


def test_tasks_are_found_by_name_and_label(visit: Start) -> None:
    page = visit().open("#/tasks", ".scroll")
    page.get_by_label("Find").fill("clickb")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Find").fill("amusement")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody a")).to_have_text("emotion")
    page.get_by_label("Find").fill("no such thing")
    expect(page.get_by_text("Nothing found")).to_be_visible()
