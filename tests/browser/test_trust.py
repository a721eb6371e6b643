"""Other people's words in the page, and keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import Visit, train
from tests.conftest import ServiceProcess

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Start = Callable[..., Visit]
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>document.title='taken'</script>",
    '"><svg onload=alert(2)>',
    "javascript:alert(3)",
    "</td></table><h1 id=taken>taken</h1>",
    "a" * 240,
    "‮txt.exe ​",
]
KEY = "a-manage-key-of-ours"


def test_hostile_labels_and_texts_stay_text(visit: Start, console: ServiceProcess) -> None:
    rows = [(f"{label} {n}", label) for label in HOSTILE for n in range(8)]
    train(console, "hostile", rows)
    description = {"kind": "single_label", "labels": HOSTILE, "description": HOSTILE[0] * 20}
    made = console.http.put("/v1/tasks/hostile-too", json=description)
    assert made.status_code == 201, made.text
    one = visit()
    page = one.open("#/try")
    page.get_by_label("Text", exact=True).fill(HOSTILE[1])
    page.get_by_role("button", name="Ask all tasks").click()
    expect(page.locator(".answer").first).to_be_visible()
    for address, ready in [
        ("#/tasks", ".scroll"),
        ("#/tasks/hostile", ".matrix"),
        ("#/tasks/hostile-too", ".empty"),
    ]:
        one.open(address, ready)
        assert page.locator("main img, main script, main svg, #taken").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{address} is {wide} pixels too wide"
    expect(page.get_by_text(HOSTILE[0]).first).to_be_visible()
    assert "taken" not in page.title()


def test_a_hostile_file_stays_text_in_the_preview(visit: Start) -> None:
    page = visit().open("#/train", ".drop")
    text = "".join(f"{json.dumps({'text': bad, 'label': bad})}\n" for bad in HOSTILE)
    file = {"name": '<img src=x onerror="alert(4)">.jsonl', "mimeType": "text/plain"}
    page.get_by_label("Choose a file").set_input_files({**file, "buffer": text.encode()})
    expect(page.get_by_text(HOSTILE[0]).first).to_be_visible()
    assert page.locator("main img, main script, main svg, #taken").count() == 0


def test_hostile_addresses_find_nothing(visit: Start) -> None:
    one = visit()
    one.excuse("404|422")
    for name in ("<img src=x onerror=alert(5)>", "../../health", "%E0%A4%A", "nothing"):
        page = one.open(f"#/tasks/{name.replace('/', '%2F')}", ".notice.error")
        assert page.locator("main img").count() == 0
        page.goto("about:blank")


def test_a_report_that_makes_no_sense_spoils_only_itself(visit: Start) -> None:
    one = visit()
    page = one.open("#/try")
    report = {
        "kind": "single_label",
        "accuracy": "high",
        "accuracy_interval": {"a": 1},
        "confusion": {"labels": [1, {}], "matrix": [["<b>", None], 3]},
        "per_class": [{"label": HOSTILE[0], "f1": "x"}, 7],
        "calibration": {"bins": [{"count": 3, "confidence": "y", "accuracy": {}}, None]},
        "coverage": "no",
        "warnings": [HOSTILE[1], {}, 5],
        "hyperparameters": {"C": {"deep": [1]}},
        "seconds": [],
    }
    version = one.service.http.get("/v1/tasks/sentiment/versions/1").json() | {"report": report}
    page.route(
        "**/v1/tasks/sentiment/versions/1", lambda route: route.fulfill(body=json.dumps(version))
    )
    one.open("#/tasks/sentiment", ".part")
    expect(page.get_by_text(HOSTILE[1])).to_be_visible()
    expect(page.get_by_role("button", name="Export version 1")).to_be_visible()


def test_a_key_is_asked_for_and_stays_in_this_tab(
    visit: Start, processes: Callable[..., ServiceProcess], tmp_path: Path
) -> None:
    keys = f"manage:{KEY},predict:a-predict-key-of-ours"
    service = processes("all", tmp_path, POLYHEAD_API_KEYS=keys)
    one = visit(service)
    one.excuse("401|403")
    page = one.open("#/tasks", "dialog")
    page.get_by_label("Key", exact=True).fill("not a key")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("Keys are ASCII, without spaces.")).to_be_visible()
    page.get_by_label("Key", exact=True).fill("a-wrong-key")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("That key is not accepted.")).to_be_visible()
    page.get_by_label("Key", exact=True).fill("a-predict-key-of-ours")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("link", name="sentiment")).to_be_visible()

    one.open("#/train", ".drop")
    expect(page.get_by_text("lacks the scope")).to_be_visible()
    file = {"name": "mine.csv", "mimeType": "text/csv", "buffer": b"text,label\na,b\nc,d\n"}
    page.get_by_label("Choose a file").set_input_files(file)
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_role("button", name="Use another key").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Task", exact=True)).to_have_value("mine")
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("Nothing trained or tested yet")).to_be_visible()

    page.reload()
    expect(page.get_by_text("Nothing trained or tested yet")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('polyhead.key')") == KEY
    assert KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    other = one.context.new_page()
    other.goto(service.url)
    assert other.evaluate("sessionStorage.getItem('polyhead.key')") is None
    other.close()
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
