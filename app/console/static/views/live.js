// What this process does now, looked at every two seconds.

import { api } from "../api.js";
import { chart } from "../charts.js";
import { fill, h, pause } from "../dom.js";
import { count, isNumber, milliseconds, percent, plural, short } from "../format.js";
import { badge, empty, meter, notice, problem, section, tile, tiles } from "../parts.js";
import { add, latest, quantile, rate, recent, ratio } from "../traffic.js";

const POLL_MS = 2_000;
const SHOWN_TASKS = 12;
// A minute at least: the first looks stand at its right end.
const shown = () => [Math.min(recent()[0].at, recent().at(-1).at - 60), recent().at(-1).at];
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export async function liveView(root, _, signal) {
  fill(root, h("h1", {}, "Live"), h("p", { class: "hint" }, "Loading…"));
  add(await api("/v1/stats", { signal }));
  const page = { figures: h("div", { class: "stack" }), alert: h("div", {}) };
  const charts = drawCharts(signal);
  const tasks = h("div", {});
  fill(
    root,
    h("div", { class: "heading" }, h("h1", {}, "Live"), h("span", { class: "hint" }, "every 2 s, this process alone")),
    page.alert,
    page.figures,
    h("div", { class: "grid" }, charts.map((one) => h("section", { class: "panel" }, h("h2", {}, one.title), one.drawn.element))),
    tasks,
  );
  fill(page.alert, cacheDown(latest()));
  let told = ""; // of the trouble: said once, not every two seconds
  while (!signal.aborted) {
    fill(page.figures, figures(latest()));
    for (const one of charts) one.drawn.update(...one.read());
    fill(tasks, byTask(latest()));
    await pause(POLL_MS, signal);
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      add(await api("/v1/stats", { signal }));
      fill(page.alert, cacheDown(latest()));
      told = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.message !== told) fill(page.alert, problem(error));
      told = error.message;
    }
  }
}

function drawCharts(signal) {
  const times = () => recent().map((one) => one.at);
  const make = (title, description, series, options, read) => ({
    title,
    read,
    drawn: chart(description, { x: times(), time: false, xFormat: clock, xRange: shown, xSpace: 90, dots: true, height: 180, series, ...options }, signal),
  });
  const empty_ = () => times().map(() => null);
  return [
    make(
      "Texts a second",
      "Texts found in the cache and texts encoded, a second, over the last minutes",
      [
        { label: "Texts", colour: "accent", data: empty_(), fill: true },
        { label: "Encoded", colour: "second", data: empty_() },
      ],
      { yFormat: short },
      () => [times(), [rate((one) => one.cache.hits + one.cache.misses), rate((one) => one.encoder.passes)]],
    ),
    make(
      "Hit ratio",
      "Share of texts found in the cache, over the last minutes",
      [{ label: "Hit ratio", colour: "accent", data: empty_(), fill: true }],
      { yFormat: (value) => `${Math.round(value * 100)}%`, yRange: [0, 1.02] },
      () => [times(), [ratio((one) => one.cache.hits, (one) => one.cache.hits + one.cache.misses)]],
    ),
    make(
      "Latency",
      "Median and 95th percentile of the time of requests, over the last minutes",
      [
        { label: "p50", colour: "accent", data: empty_() },
        { label: "p95", colour: "second", data: empty_() },
      ],
      { yFormat: milliseconds },
      () => [times(), [quantile(0.5), quantile(0.95)]],
    ),
    make(
      "Answers a second",
      "Answers and encoder passes saved, a second, over the last minutes",
      [
        { label: "Answers", colour: "accent", data: empty_() },
        { label: "Passes saved", colour: "second", data: empty_(), dash: [4, 3] },
      ],
      { yFormat: short },
      () => [times(), [rate((one) => one.predictions), rate((one) => one.encoder.passes_saved)]],
    ),
  ];
}

function figures(stats) {
  const { cache, encoder } = stats;
  const errors = Object.entries(stats.requests.errors).filter(([, times]) => times > 0);
  const last = (values) => values.findLast(isNumber);
  return [
    tiles(
      tile("Hit ratio", percent(cache.hit_ratio), `${count(cache.hits)} of ${plural(cache.hits + cache.misses, "text")}, trainings too`, "accent"),
      tile("Passes saved", count(encoder.passes_saved), `${plural(encoder.passes, "pass", "passes")} made`, "good"),
      tile("Answers", count(stats.predictions), `by ${plural(stats.tasks, "task")}`),
      tile("Texts a second", short(last(rate((one) => one.cache.hits + one.cache.misses)) ?? 0), `${plural(encoder.queued_texts, "text")} waiting`),
      tile("Latency, p50", milliseconds(last(quantile(0.5))), `p95 ${milliseconds(last(quantile(0.95)))}`),
    ),
    errors.length > 0 && h("p", { class: "badges" }, "Refused or failed:", errors.map(([status, times]) => badge(`${status} × ${count(times)}`, "warn"))),
    cache.errors > 0 && h("p", { class: "hint" }, `${plural(cache.errors, "cache error")}, each counted as a miss.`),
  ];
}

const cacheDown = (stats) => !stats.cache.up && notice("warn", "The cache does not answer: every text is encoded.");

function byTask(stats) {
  const answered = Object.entries(stats.predict.answers_by_task).sort((a, b) => b[1] - a[1]);
  if (!answered.length) return section("By task", empty("No traffic yet", h("p", {}, h("a", { href: "#/try" }, "Ask something"), ", or send requests to /v1/predict.")));
  const most = answered[0][1];
  return section(
    "By task",
    h(
      "ul",
      { class: "scores wide" },
      answered.slice(0, SHOWN_TASKS).map(([name, times]) => h("li", {}, h("a", { class: "name", href: `#/tasks/${encodeURIComponent(name)}` }, name), meter(times / most), h("span", { class: "figure" }, count(times)))),
    ),
    answered.length > SHOWN_TASKS && h("p", { class: "hint" }, `and ${plural(answered.length - SHOWN_TASKS, "task")} more`),
  );
}
