"""What the service does now, and what it would have cost otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from app.metrics import Metrics
from app.stats import process_stats
from models.training.encoder.cost import Costs, break_even
from tests.browser.conftest import Visit, support_rows, train

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Start = Callable[..., Visit]


def tile(page: Any, name: str) -> Any:
    return page.locator(".tile", has=page.get_by_text(name, exact=True)).locator(".value")


def test_live_figures_are_those_of_the_service(visit: Start, console: Any) -> None:
    console.predict([f"a live text {n}" for n in range(10)])
    console.predict([f"a live text {n}" for n in range(10)])
    page = visit().open("#/live", ".tiles")
    stats = console.http.get("/v1/stats").json()
    expect(tile(page, "Passes saved")).to_have_text(f"{stats['encoder']['passes_saved']:,}")
    expect(tile(page, "Hit ratio")).to_have_text(f"{stats['cache']['hit_ratio'] * 100:.1f}%")
    for title in ("Texts a second", "Hit ratio", "Latency", "Answers a second"):
        panel = page.locator(".panel", has=page.get_by_role("heading", name=title, exact=True))
        expect(panel.locator("canvas")).to_be_visible()
    console.predict([f"a live text {n}" for n in range(10)], tasks=["sentiment"])
    later = console.http.get("/v1/stats").json()["encoder"]["passes_saved"]
    assert later == stats["encoder"]["passes_saved"] + 10
    expect(tile(page, "Passes saved")).to_have_text(f"{later:,}")
    expect(tile(page, "Latency, p50")).not_to_have_text("–")
    expect(page.get_by_role("link", name="sentiment")).to_be_visible()


def test_live_says_when_the_service_is_gone_and_goes_on_after(visit: Start) -> None:
    one = visit()
    one.excuse("Failed to load resource")
    page = one.open("#/live", ".tiles")
    page.route("**/v1/stats", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    page.unroute("**/v1/stats")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_break_even_has_the_traffic_of_the_service_on_it(visit: Start, console: Any) -> None:
    console.predict([f"a costly text {n}" for n in range(10)])
    stats = console.http.get("/v1/stats").json()["predict"]
    page = visit().open("#/cost", ".verdict")
    expect(tile(page, "Texts")).to_have_text(f"{stats['texts']:,}")
    expect(tile(page, "Encoder passes")).to_have_text(f"{stats['passes']:,}")
    expect(page.get_by_text("of work with one encoder")).to_be_visible()
    expect(page.get_by_role("img", name="Cost of a text").locator("canvas")).to_be_visible()
    page.get_by_label("Texts seen before").fill("0")
    page.get_by_label("An encoder pass").fill("1000")
    expect(page.locator(".verdict")).to_have_text("One encoder is cheaper from 2 tasks on.")
    page.get_by_label("Separate models", exact=True).select_option(label="half as large")
    expect(page.locator(".verdict")).to_have_text("One encoder is cheaper from 3 tasks on.")
    page.get_by_label("Separate models", exact=True).select_option(
        label="a seventh (the paper's students)"
    )
    expect(page.locator(".verdict")).to_have_text("One encoder is cheaper from 8 tasks on.")
    page.get_by_label("Separate models keep their answers").uncheck()
    page.get_by_label("Texts seen before").fill("90")
    expect(page.locator(".verdict")).to_have_text("One encoder is cheaper from the first task on.")
    page.get_by_label("An encoder pass").fill("0")
    expect(page.get_by_text("A pass must cost something.")).to_be_visible()


def test_the_page_computes_costs_as_the_benchmarks_do(visit: Start) -> None:
    draw = random.Random(0)
    cases = []
    for _ in range(200):
        costs = [round(draw.uniform(0, 10), 3) for _ in range(4)]
        ratios = [draw.choice([0, 0.25, 0.5, 0.75, 1]) for _ in range(2)]
        cases.append((*costs, draw.randint(0, 50), *ratios))
    found = (
        visit()
        .open("#/try")
        .evaluate(
            """async (cases) => {
          const model = await import("/console/cost-model.js");
          return cases.map(([encoder, head, student, lookup, tasks, hits, answerHits]) => {
            const costs = {encoder, head, student, lookup};
            return [
              model.shared(costs, tasks, hits),
              model.separate(costs, tasks, answerHits),
              model.breakEven(costs, hits, answerHits),
            ];
          });
        }""",
            cases,
        )
    )
    for case, (shared, separate, even) in zip(cases, found, strict=True):
        encoder, head, student, lookup, tasks, hits, answer_hits = case
        costs = Costs(encoder, head, student, lookup=lookup)
        assert abs(shared - costs.shared(tasks, hits)) < 1e-9
        assert abs(separate - costs.students(tasks, answer_hits)) < 1e-9
        assert even == break_even(costs, hits, answer_hits), case


def test_a_process_without_traffic_or_an_encoder_of_its_own_says_so(
    visit: Start, console: Any
) -> None:
    stats = process_stats(Metrics(), cache_up=False, tasks=8)
    one = visit()
    page = one.open("#/try")
    page.route("**/v1/stats", lambda route: route.fulfill(json=stats))
    one.open("#/cost", ".verdict")
    expect(page.get_by_text("No traffic yet")).to_be_visible()
    expect(page.get_by_label("An encoder pass, ms a text (not measured yet)")).to_have_value("1")
    one.open("#/live", ".tiles")
    expect(page.get_by_text("No traffic yet")).to_be_visible()
    expect(tile(page, "Hit ratio")).to_have_text("–")
    expect(page.get_by_text("The cache does not answer: every text is encoded.")).to_be_visible()


def test_drift_is_told_where_other_texts_are_asked(visit: Start, console: Any) -> None:
    rows = random.Random(0).sample(support_rows(), 160)  # the file is in order of labels
    train(console, "drifting", rows[:120])
    page = visit().open("#/tasks/drifting", ".part")
    panel = page.locator(".panel", has=page.get_by_role("heading", name="Drift", exact=True))
    expect(panel.get_by_text("0 different texts were asked, 30 are needed.")).to_be_visible()
    console.predict([text for text, _ in rows[120:]], tasks=["drifting"])
    refresh = panel.get_by_role("button", name="Refresh the drift")
    refresh.click()
    live = panel.locator(".tile", has=page.get_by_text("Live texts are", exact=True))
    expect(live.locator(".value")).to_have_text("as in training")
    labels = sorted({label for _, label in rows})
    shares = panel.get_by_role("region", name="Answers").locator("tbody tr")
    expect(shares).to_have_count(len(labels))

    console.predict(
        [f"Release {n} of the program mends a fault" for n in range(60)], tasks=["drifting"]
    )
    refresh.click()
    expect(live.locator(".value")).to_have_text("shifted")
    found = console.http.get("/v1/tasks/drifting/drift").json()
    expect(live.locator(".note")).to_contain_text(f"drift {found['drift']:.3f}")
    page.get_by_role("navigation").get_by_role("link", name="Tasks").click()
    row = page.locator("tbody tr", has=page.get_by_role("link", name="drifting", exact=True))
    expect(row.get_by_text(f"shifted {found['drift']:.3f}")).to_be_visible()
