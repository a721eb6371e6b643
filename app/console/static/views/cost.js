// What T separate models would have cost, with the traffic of this process on the curve.

import { api } from "../api.js";
import { chart } from "../charts.js";
import { breakEven, separate, shared } from "../cost-model.js";
import { fill, h } from "../dom.js";
import { count, isNumber, milliseconds, percent, plural, short } from "../format.js";
import { empty, notice, section, tile, tiles } from "../parts.js";
import { numbers } from "./curves.js";

// A separate model's pass as a share of this encoder's. The seventh is the ratio of the paper's pair,
// by the operations of a 24-layer encoder, 1,024 wide, and a 6-layer student, 768 wide.
const SIZES = [
  [1, "as large as this encoder"],
  [0.5, "half as large"],
  [1 / 7, "a seventh (the paper's students)"],
];
const ASSUMED_PASS_MS = 1;

export async function costView(root, _, signal) {
  fill(root, h("h1", {}, "What would separate models have cost?"), h("p", { class: "hint" }, "Loading…"));
  const stats = await api("/v1/stats", { signal });
  const traffic = trafficOf(stats);
  const measured = measuredCosts(stats);
  const size = h("select", { id: "size" }, SIZES.map(([value, text]) => h("option", { value }, text)));
  const hits = h("input", { type: "range", id: "hits", min: 0, max: 100, value: Math.round((traffic?.hits ?? 0) * 100) });
  const answerHits = h("input", { type: "checkbox", id: "answer-hits", checked: true });
  const pass = h("input", { type: "number", id: "pass", min: 0.01, step: "any", value: measured.pass === null ? ASSUMED_PASS_MS : Number(measured.pass.toPrecision(3)) });
  const shownHits = h("output", { for: "hits" });
  const outcome = h("div", { "aria-live": "polite" });
  let drawing = new AbortController();
  const show = () => {
    drawing.abort();
    drawing = new AbortController();
    signal.addEventListener("abort", () => drawing.abort(), { once: true });
    const share = Number(hits.value) / 100;
    shownHits.textContent = percent(share, 0);
    const ms = Number(pass.value);
    if (!(ms > 0)) return fill(outcome, notice("warn", "A pass must cost something."));
    const costs = { encoder: ms, student: ms * Number(size.value), head: measured.head ?? 0, lookup: measured.lookup ?? 0 };
    fill(outcome, result(costs, share, answerHits.checked ? share : 0, traffic, drawing.signal));
  };
  for (const control of [size, hits, answerHits, pass]) control.addEventListener("input", show);
  const field = (id, text, ...controls) => h("div", { class: "field" }, h("label", { for: id }, text), controls);
  fill(
    root,
    h("h1", {}, "What would separate models have cost?"),
    h("p", { class: "lead" }, "One encoder is paid once a text, and not at all for a code that is kept. A model a task is paid for every task."),
    own(traffic),
    section(
      "Compare with",
      h(
        "div",
        { class: "fields" },
        field("size", "Separate models", size),
        field("pass", measured.pass === null ? "An encoder pass, ms a text (not measured yet)" : "An encoder pass, ms a text", pass),
        field("hits", "Texts seen before", hits, shownHits),
      ),
      h("label", { class: "check", for: "answer-hits" }, answerHits, "Separate models keep their answers too, so they save the same repeats"),
    ),
    outcome,
    assumptions(stats, measured),
  );
  show();
}

/** This process's predictions: texts, tasks asked of each, passes made. */
function trafficOf({ predict }) {
  if (!predict.texts) return null;
  const tasks = predict.answers / predict.texts;
  return { ...predict, tasks, hits: 1 - Math.min(1, predict.passes / predict.texts) };
}

/** Milliseconds by what this process has done; null where it has done nothing of the kind. */
function measuredCosts({ encoder, cache, predict }) {
  const mean = (seconds, times) => (times ? (seconds / times) * 1000 : null);
  return {
    pass: mean(encoder.own_seconds, encoder.own_passes),
    lookup: mean(cache.lookup_seconds, cache.hits + cache.misses),
    head: mean(predict.head_seconds, predict.answers),
  };
}

function own(traffic) {
  if (!traffic) {
    return empty("No traffic yet", h("p", {}, h("a", { href: "#/try" }, "Ask something"), " or send requests; they will be a point on the curve."));
  }
  return tiles(
    tile("Texts", count(traffic.texts), `${short(traffic.tasks)} tasks asked of each`),
    tile("Answers", count(traffic.answers), "as many passes, with a model a task"),
    tile("Encoder passes", count(traffic.passes), `${percent(traffic.hits)} of texts cost none`, "accent"),
    tile("Passes saved", count(traffic.answers - traffic.passes), "by one encoder and its cache", "good"),
  );
}

function result(costs, hits, answerHits, traffic, signal) {
  const from = breakEven(costs, hits, answerHits);
  const most = Math.max(12, Math.ceil((traffic?.tasks ?? 0) * 1.5), Math.min(100, (from ?? 0) * 2));
  const x = [...new Set([...Array(most + 1).keys(), ...(traffic ? [traffic.tasks] : [])])].sort((a, b) => a - b);
  const mine = x.map((tasks) => (tasks === traffic?.tasks ? shared(costs, tasks, hits) : null));
  const theirs = x.map((tasks) => (tasks === traffic?.tasks ? separate(costs, tasks, answerHits) : null));
  const drawn = chart(
    `Cost of a text by the number of tasks. ${sentence(from)}`,
    {
      x,
      xTitle: "Tasks asked of every text",
      yTitle: "ms of work a text",
      xFormat: (value) => short(value),
      yFormat: short,
      xRange: [0, most],
      height: 320,
      series: [
        { label: "One encoder, a head a task", colour: "accent", data: x.map((tasks) => shared(costs, tasks, hits)) },
        { label: "A model a task", colour: "second", data: x.map((tasks) => separate(costs, tasks, answerHits)), dash: [6, 4] },
        ...(traffic ? [{ label: "Your traffic", colour: "accent", data: mine, points: 12, line: false }, { label: "The same with separate models", colour: "second", data: theirs, points: 12, line: false }] : []),
      ],
    },
    signal,
  );
  return section(
    "Break-even",
    h("p", { class: "verdict" }, sentence(from)),
    traffic && h("p", {}, yours(costs, hits, answerHits, traffic)),
    drawn.element,
    numbers(
      ["Tasks", "One encoder, ms", "A model a task, ms"],
      [1, 2, 5, 10, 20, 50].map((tasks) => [count(tasks), short(shared(costs, tasks, hits)), short(separate(costs, tasks, answerHits))]),
    ),
  );
}

function sentence(from) {
  if (from === null) return "Under these assumptions separate models stay cheaper, whatever the number of tasks.";
  return from === 1 ? "One encoder is cheaper from the first task on." : `One encoder is cheaper from ${count(from)} tasks on.`;
}

function yours(costs, hits, answerHits, traffic) {
  const ours = shared(costs, traffic.tasks, hits) * traffic.texts;
  const theirs = separate(costs, traffic.tasks, answerHits) * traffic.texts;
  const times = ours > 0 && isNumber(theirs / ours) ? `, ${short(theirs / ours)} times as much` : "";
  return `Your ${plural(traffic.texts, "text")}: ${milliseconds(ours)} of work with one encoder, ${milliseconds(theirs)} with separate models${times}.`;
}

function assumptions(stats, measured) {
  const line = (name, value, source) => h("li", {}, h("strong", {}, `${name}: `), value === null ? "not measured yet. " : `${milliseconds(value)}. `, source);
  return section(
    "What this rests on",
    h(
      "ul",
      { class: "plain" },
      line("An encoder pass", measured.pass, measured.pass === null ? `Change the ${ASSUMED_PASS_MS} ms above; where the encoder is another process, its time is in that process's /metrics.` : `The mean of ${plural(stats.encoder.own_passes, "pass", "passes")} of this process, in the batches that came, tokenizing included.`),
      line("A head's answer", measured.head, "The mean of this process's answers, their wording included."),
      line("Looking a code up", measured.lookup, "What requests waited for it, the mean a text. Paid by one encoder alone; a cache of answers is taken to be free."),
      h("li", {}, "A separate model has its own head and tokenizes by itself; both count as part of its pass."),
      h("li", {}, "Not counted on either side: HTTP, memory, idle machines, and the training of either."),
      h("li", {}, "Whether separate models would be more accurate is another question: the task's report, and docs/experiments.md for students."),
    ),
  );
}
