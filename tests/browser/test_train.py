"""From a dropped file to a version in use, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import EXAMPLE, Visit, support_rows, train, train_rows

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Start = Callable[..., Visit]

DROP = """([selector, name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name, {type: "text/csv"}));
  const zone = document.querySelector(selector);
  for (const kind of ["dragover", "drop"]) {
    zone.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
  }
}"""


def drop(page: Any, name: str, text: str, zone: str = ".drop") -> None:
    page.evaluate(DROP, [zone, name, text])


def report_of(page: Any, version: int) -> Any:
    return page.get_by_role("heading", name=f"Report of version {version}")


def test_a_dropped_file_becomes_a_version(visit: Start, console: Any) -> None:
    page = visit().open("#/train", ".drop")
    drop(page, "Card Support (new).csv", EXAMPLE.read_text())
    expect(page.get_by_label("Task", exact=True)).to_have_value("card-support-new")
    expect(page.get_by_label("Column of texts")).to_have_value("text")
    expect(page.get_by_label("Column of labels")).to_have_value("label")
    for told in ("200 rows", "5 labels", "card_arrival 40", "A new task."):
        expect(page.get_by_text(told, exact=True)).to_be_visible()
    page.get_by_label("Task", exact=True).fill("Not A Name")
    expect(page.get_by_text("Small letters, digits")).to_be_visible()
    page.get_by_label("Task", exact=True).fill("by-drop")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(page.get_by_text("Version 1 of by-drop is there")).to_be_visible()
    newest = page.get_by_role("region", name="Trainings and tests").locator("tbody tr").first
    expect(newest).to_contain_text("by-drop")
    expect(newest).to_contain_text("version 1 trained")
    expect(newest).to_contain_text("done")
    assert page.locator("progress").evaluate("bar => bar.value") == 1
    page.get_by_role("link", name="See its report").click()
    expect(report_of(page, 1)).to_be_visible()
    assert console.http.get("/v1/tasks/by-drop").json()["active_version"] == 1


def test_promote_undo_roll_back_compare_and_delete(visit: Start, console: Any) -> None:
    rows = support_rows()
    for head in ("linear", "prototype"):
        train(console, "versions", rows, head=head)

    def active() -> Any:
        return console.http.get("/v1/tasks/versions").json()["active_version"]

    page = visit().open("#/tasks/versions", ".part")
    badge = page.get_by_text("version 1 answers")
    expect(badge).to_be_visible()
    page.get_by_role("button", name="Promote version 2").click()
    expect(page.get_by_text("version 2 answers")).to_be_visible()
    assert active() == 2
    page.get_by_role("button", name="Undo").click()
    expect(badge).to_be_visible()
    assert active() == 1
    page.get_by_role("button", name="Promote version 2").click()
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(badge).to_be_visible()
    assert active() == 1

    page.get_by_role("button", name="Report of version 2").click()
    expect(report_of(page, 2)).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("held out by one and trained on by neither")).to_be_visible()
    found = console.http.post("/v1/tasks/versions/versions/compare", json={"a": 1, "b": 2}).json()
    expect(page.get_by_text(f"{found['rows']} rows held out")).to_be_visible()

    page.get_by_role("button", name="Shadow with version 2").click()
    expect(page.get_by_role("heading", name="Shadow: version 2")).to_be_visible()
    expect(page.get_by_text("No text compared yet")).to_be_visible()
    texts = [text for text, _ in rows[:20]]
    console.predict(texts, tasks=["versions"])
    shadow = page.locator(".panel", has=page.get_by_role("heading", name="Shadow: version 2"))

    def compared() -> bool:
        page.get_by_role("button", name="Refresh the shadow").click()
        page.wait_for_timeout(300)
        return bool(shadow.locator(".tile").count())

    for _ in range(100):
        if compared():
            break
    expect(shadow.locator(".tile .value").first).to_have_text("20")
    page.get_by_role("button", name="End the shadow").click()
    expect(page.get_by_role("heading", name="Shadow: version 2")).to_have_count(0)

    page.get_by_role("button", name="Delete version 2").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Delete version 2").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("button", name="Report of version 2")).to_have_count(0)
    assert [v["version"] for v in console.http.get("/v1/tasks/versions").json()["versions"]] == [1]


def test_a_report_has_its_figures_and_curves(visit: Start, console: Any) -> None:
    train(console, "figures", support_rows())
    report = console.http.get("/v1/tasks/figures/versions/1").json()["report"]
    page = visit().open("#/tasks/figures", ".matrix")
    matrix = page.get_by_role("region", name="Confusion matrix")
    shown = [
        [int(cell) for cell in row.locator("td").all_inner_texts()]
        for row in matrix.locator("tbody tr").all()
    ]
    assert shown == report["confusion"]["matrix"]
    accuracy = page.locator(".tile", has=page.get_by_text("Accuracy", exact=True))
    expect(accuracy.locator(".value")).to_have_text(f"{report['accuracy'] * 100:.1f}%")
    for chart in ("Calibration: how often", "Share of rows answered"):
        drawn = page.get_by_role("img", name=chart)
        expect(drawn.locator("canvas")).to_be_visible()
    page.get_by_role("button", name="Make the curve").click()
    curve = page.get_by_role("img", name="Learning curve: ")
    expect(curve.locator("canvas")).to_be_visible()
    expect(page.get_by_text("The last point is this version.")).to_be_visible()

    page.get_by_label("Confidence", exact=True).fill("0.6")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("On its held-out rows:")).to_be_visible()
    settings = console.http.get("/v1/tasks/figures/versions/1").json()["settings"]
    assert settings["min_confidence"] == 0.6


def test_a_version_is_tested_on_later_texts(visit: Start, console: Any) -> None:
    rows = support_rows()
    train(console, "tested", rows[:120])
    page = visit().open("#/tasks/tested", ".matrix")
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Test version 1"))
    lines = [f'"{text}";{label}' for text, label in rows[120:] if '"' not in text]
    drop(page, "later.csv", "question;intent\n" + "\n".join(lines), "#main .drop")
    expect(panel.get_by_label("Column of texts")).to_have_value("question")
    expect(panel.get_by_text(f"{len(lines)} rows", exact=True)).to_be_visible()
    panel.get_by_role("button", name="Test", exact=True).click()
    expect(panel.get_by_role("heading", name="On later.csv")).to_be_visible()
    tested = panel.locator(".tile", has=page.get_by_text("Tested on", exact=True))
    expect(tested.locator(".value")).to_have_text(str(len(lines)))
    matrix = panel.get_by_role("region", name="Confusion matrix").locator("tbody td")
    assert sum(int(cell) for cell in matrix.all_inner_texts()) == len(lines)
    accuracy = panel.locator(".tile", has=page.get_by_text("Accuracy", exact=True))
    listed = console.http.get("/v1/jobs").json()["data"]
    job = next(one for one in listed if one["task"] == "tested")  # the newest
    shown = f"{job['report']['accuracy'] * 100:.1f}%"
    expect(accuracy.locator(".value")).to_have_text(shown)
    # Nothing was stored, and changing a setting keeps what was found.
    assert len(console.http.get("/v1/tasks/tested").json()["versions"]) == 1
    page.get_by_label("Confidence", exact=True).fill("0.5")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("On its held-out rows:")).to_be_visible()
    expect(accuracy.locator(".value")).to_have_text(shown)
    # Among the trainings it is told apart from them.
    page.get_by_role("navigation").get_by_role("link", name="Train").click()
    jobs = page.get_by_role("region", name="Trainings and tests").locator("tbody tr")
    of_it = jobs.filter(has=page.get_by_role("link", name="tested", exact=True))
    expect(of_it.locator(".below")).to_have_text(["version 1 tested", "version 1 trained"])


def test_what_cannot_be_tested_on_is_told(visit: Start, console: Any) -> None:
    train(console, "not-tested", support_rows()[:40])
    one = visit()
    one.excuse("422")
    page = one.open("#/tasks/not-tested", ".drop")
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Test version 1"))
    drop(page, "a.pdf", "no", "#main .drop")
    expect(panel.get_by_role("alert")).to_contain_text("Expected a file ending in")
    drop(page, "a.csv", "text,label\na text,no such label\n", "#main .drop")
    panel.get_by_role("button", name="Test", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("no such label")


def test_export_import_and_delete_a_task(visit: Start, console: Any, tmp_path: Path) -> None:
    train(console, "moved", support_rows()[:60])
    one = visit()
    one.excuse("400")
    page = one.open("#/tasks/moved", ".part")
    sizes = []
    for rows in (False, True):
        page.get_by_role("button", name="Export version 1").click()
        if rows:
            page.get_by_label("Its stored codes and labels too").check()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save the file").click()
        assert saved.value.suggested_filename == "moved-1.safetensors"
        file = tmp_path / "moved-1.safetensors"
        saved.value.save_as(file)
        sizes.append(file.stat().st_size)
    assert 1000 < sizes[0] < sizes[1]

    one.open("#/train", ".drop")
    page.get_by_label("Choose a file").set_input_files(file)
    expect(page.get_by_label("Task", exact=True)).to_have_value("moved")
    page.get_by_label("Task", exact=True).fill("moved-here")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("Version 1 of moved-here is there")).to_be_visible()
    assert console.http.get("/v1/tasks/moved-here").json()["active_version"] == 1
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_role("link", name="See its report").click()
    expect(page.get_by_role("button", name="Promote version 2")).to_be_visible()

    damaged = {"name": "x.safetensors", "mimeType": "a/b", "buffer": b"no head"}
    one.open("#/train", ".drop")
    page.get_by_label("Choose a file").set_input_files(damaged)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()

    one.open("#/tasks/moved-here", ".part")
    page.get_by_role("button", name="Delete the task").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete the task").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the task").click()
    expect(page.get_by_role("heading", name="Tasks", level=1)).to_be_visible()
    assert console.http.get("/v1/tasks/moved-here").status_code == 404


def test_thresholds_of_several_labels(visit: Start, console: Any) -> None:
    console.http.put("/v1/tasks/several-labels", json={"kind": "multi_label"}).raise_for_status()
    rows = [{"text": text, "labels": [label]} for text, label in support_rows()[:80]]
    train_rows(console, "several-labels", rows)
    page = visit().open("#/tasks/several-labels", ".thresholds")
    trained = console.http.get("/v1/tasks/several-labels/versions/1").json()["report"]["thresholds"]
    label = page.get_by_label("change_pin", exact=True)
    placeholder = f"{trained['change_pin']:.2f}"
    expect(label).to_have_attribute("placeholder", placeholder)
    label.fill("0.3")
    page.get_by_role("button", name="Set thresholds").click()

    def settings() -> Any:
        return console.http.get("/v1/tasks/several-labels/versions/1").json()["settings"]

    expect(label).to_have_value("0.3")
    for _ in range(100):
        if settings()["thresholds"]:
            break
        page.wait_for_timeout(100)
    assert settings()["thresholds"] == {"change_pin": 0.3}
    page.get_by_role("button", name="All as trained").click()
    expect(label).to_have_value("")
    assert not settings()["thresholds"]


def test_a_version_without_rows_says_why_it_has_no_curve(visit: Start) -> None:
    one = visit()
    one.excuse("409")
    page = one.open("#/tasks/sentiment", ".part")
    page.get_by_role("button", name="Make the curve").click()
    expect(page.get_by_text("has no stored rows")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("a.xlsx", "text,label\na,b\n", "Expected a file ending in .csv, .tsv or .jsonl."),
        ("a.csv", "", "The file is empty."),
        ("a.csv", "only\none\n", "at least two columns"),
        ("a.jsonl", "{no json}\n", "Line 1 is not JSON."),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    visit: Start, name: str, text: str, shown: str
) -> None:
    page = visit().open("#/train", ".drop")
    drop(page, name, text)
    expect(page.get_by_role("alert")).to_contain_text(shown)


def test_what_the_service_refuses_is_told(visit: Start) -> None:
    one = visit()
    one.excuse("422")
    page = one.open("#/train", ".drop")
    drop(page, "refused.csv", "text,label\na,one\nb,one\n")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("at least two labels")


def test_other_columns_json_lines_and_a_chosen_file(visit: Start, console: Any) -> None:
    page = visit().open("#/train", ".drop")
    rows = "".join(f'"word {n}, with a comma";{"a" if n % 2 else "b"}\n' for n in range(12))
    page.get_by_label("Choose a file").set_input_files(
        {"name": "x.csv", "mimeType": "text/csv", "buffer": f"Title;Class\n{rows}".encode()}
    )
    expect(page.get_by_label("Column of texts")).to_have_value("Title")
    expect(page.get_by_label("Column of labels")).to_have_value("Class")
    expect(page.get_by_text("word 0, with a comma")).to_be_visible()
    page.get_by_label("Task", exact=True).fill("semicolons")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Version 1 of semicolons is there")).to_be_visible()

    lines = "".join(f'{{"text": "word {n}", "labels": ["x"]}}\n' for n in range(9))
    lines += '{"text": "another", "labels": ["x", "y"]}\n'
    drop(page, "several.jsonl", lines)
    expect(page.get_by_label("Task", exact=True)).to_have_value("several")
    page.get_by_label("Answers with").select_option("multi_label")
    expect(page.get_by_text("y 1", exact=True)).to_be_visible()
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Version 1 of several is there")).to_be_visible()
    assert console.http.get("/v1/tasks/several").json()["kind"] == "multi_label"
