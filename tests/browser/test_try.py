"""The view that asks all tasks about a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Visit

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Start = Callable[..., Visit]


def tile(page: Any, name: str) -> Any:
    return page.locator(".result .tile", has=page.get_by_text(name, exact=True)).locator(".value")


def test_a_text_costs_one_pass_and_then_none(visit: Start) -> None:
    page = visit().open("#/try")
    expect(page.get_by_text("No answers yet")).to_be_visible()
    page.get_by_label("Text", exact=True).fill("A text that only this test asks about")
    page.get_by_role("button", name="Ask all tasks").click()
    expect(tile(page, "Encoder passes")).to_have_text("1")
    tasks = page.locator(".answer").count()
    assert tasks >= 8
    expect(tile(page, "Answers")).to_have_text(str(tasks))
    expect(tile(page, "Passes saved")).to_have_text(str(tasks - 1))
    expect(page.get_by_role("status").filter(has_text="1 encoder pass")).to_have_count(1)
    page.get_by_role("button", name="Ask all tasks").click()
    expect(tile(page, "Encoder passes")).to_have_text("0")
    expect(tile(page, "Passes saved")).to_have_text(str(tasks))
    asked = page.get_by_role("region", name="Asked in this tab").locator("tbody tr")
    expect(asked).to_have_count(2)
    expect(asked.first).to_contain_text("0, cached")


def test_it_works_by_keyboard_alone(visit: Start) -> None:
    page = visit().open("#/try")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.type("typed by keyboard")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer").first).to_be_visible()
    first = page.locator(".answer summary").first
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".answer .scores li").first).to_be_visible()


def test_a_sample_is_asked_with_one_click(visit: Start) -> None:
    page = visit().open("#/try")
    page.locator(".samples button").first.click()
    expect(page.locator(".answer").first).to_be_visible()
    assert page.get_by_label("Text", exact=True).input_value()


def test_an_empty_text_is_not_sent(visit: Start) -> None:
    one = visit()
    page = one.open("#/try")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_role("button", name="Ask all tasks").click()
    expect(page.get_by_text("There is no text to ask about.")).to_be_visible()
    assert not [url for url in sent if "/v1/predict" in url]


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (None, "The service does not answer"),
        (503, "the encoder is unavailable"),
        (500, "The service answered 500"),
    ],
)
def test_trouble_is_told_and_can_be_tried_again(
    visit: Start, answer: int | None, shown: str
) -> None:
    one = visit()
    one.excuse("Failed to load resource")
    page = one.open("#/try")

    def fail(route: Any) -> None:
        if answer is None:
            route.abort()
        elif answer == 503:
            body = '{"error": {"message": "the encoder is unavailable", "code": "x"}}'
            route.fulfill(status=answer, body=body)
        else:
            route.fulfill(status=answer, body="<b>no JSON</b>")

    page.route("**/v1/predict", fail)
    page.get_by_label("Text", exact=True).fill("in vain")
    page.get_by_role("button", name="Ask all tasks").click()
    expect(page.get_by_role("alert")).to_contain_text(shown)
    page.unroute("**/v1/predict")
    page.get_by_role("button", name="Ask all tasks").click()
    expect(page.locator(".answer").first).to_be_visible()
