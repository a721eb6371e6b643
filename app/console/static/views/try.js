// One text against all tasks: one pass the first time, none the second.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { count, isNumber, isObject, list, milliseconds, percent, plural } from "../format.js";
import { badge, breakable, empty, meter, notice, number, problem, section, table, tile, tiles, wide } from "../parts.js";

const SAMPLES = [
  "My card still has not arrived and nobody answers the phone!",
  "This is the best purchase I have made all year, thank you.",
  "You won't believe what this cat did next",
];
const SHOWN_LABELS = 8;
// Texts stay in this page's memory, for this tab: nothing is stored.
const asked = [];
let draft = "";

export async function tryView(root, _, signal) {
  const result = h("div", { class: "result" });
  const said = h("p", { class: "hidden", role: "status" });
  const text = h("textarea", {
    id: "text",
    rows: 3,
    value: draft,
    placeholder: "Write or paste a text",
    oninput: () => (draft = text.value),
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    },
  });
  const button = h("button", { type: "submit" }, "Ask all tasks");
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        ask(text, button, { result, said }, signal);
      },
    },
    h("label", { for: "text" }, "Text"),
    text,
    h("div", { class: "actions" }, button, h("span", { class: "hint wide-only" }, "Ctrl + Enter")),
    h(
      "div",
      { class: "samples" },
      h("span", { class: "hint" }, "Or try"),
      SAMPLES.map((sample) =>
        h(
          "button",
          { type: "button", class: "chip", onclick: () => ((text.value = draft = sample), form.requestSubmit()) },
          sample,
        ),
      ),
    ),
  );
  fill(
    root,
    h("h1", {}, "Ask every task about one text"),
    h("p", { class: "lead" }, "The text is read once, by one pass of the encoder. Its code is kept: asked again, it costs no pass."),
    h("section", { class: "panel" }, form),
    said,
    result,
  );
  if (!asked.length) fill(result, empty("No answers yet", h("p", {}, "They will stand here, with what they cost.")));
  else history(result);
}

async function ask(text, button, { result, said }, signal) {
  const input = text.value;
  if (!input.trim()) {
    fill(result, notice("warn", "There is no text to ask about."));
    text.focus();
    return;
  }
  button.disabled = true;
  result.setAttribute("aria-busy", "true");
  try {
    const answer = await api("/v1/predict", { method: "POST", json: { inputs: [input], scores: true }, signal });
    const [row] = answer.data;
    const entries = Object.entries(row.predictions);
    asked.unshift({ input, passes: answer.usage.encoded, answers: entries.length, ms: answer.times.total });
    asked.splice(10);
    fill(result, costs(answer, entries.length), truncated(row), answers(entries), skipped(answer.skipped));
    history(result);
    said.textContent = `${plural(entries.length, "answer")}, ${plural(answer.usage.encoded, "encoder pass", "encoder passes")}`;
  } catch (error) {
    if (error.name !== "AbortError") fill(result, problem(error));
  } finally {
    button.disabled = false;
    result.removeAttribute("aria-busy");
  }
}

function costs(answer, tasks) {
  const { encoded } = answer.usage;
  const tokens = plural(answer.usage.total_tokens, "token");
  return tiles(
    tile("Encoder passes", count(encoded), encoded ? `${tokens}, read once` : "the code was cached", encoded ? "accent" : "good"),
    tile("Answers", count(tasks), "one a task"),
    tile("Passes saved", count(Math.max(0, tasks - encoded)), "against one model a task"),
    tile(
      "Time in the service",
      milliseconds(answer.times.total),
      encoded ? `${milliseconds(answer.times.inference)} of it the encoder` : `${milliseconds(answer.times.cache)} of it the cache`,
    ),
  );
}

function truncated(row) {
  return row.truncated && notice("warn", "The text is over the encoder's limit of tokens: its end was not read.");
}

function answers(entries) {
  if (!entries.length) return empty("No task can answer", h("p", {}, h("a", { href: "#/train" }, "Train one"), " from a file of examples."));
  return section("Answers", h("ul", { class: "answers" }, entries.map(([name, one]) => h("li", {}, card(name, one)))));
}

function card(name, one) {
  const many = list(one.labels);
  let shown = one.label;
  let score = one.score;
  if ("value" in one) shown = isNumber(one.value) ? one.value.toPrecision(4) : "–";
  else if ("labels" in one) {
    shown = many.length ? many.join(", ") : "none of its labels";
    score = null;
  } else if (one.abstained) shown = "not sure";
  return h(
    "article",
    { class: "answer" },
    h("header", {}, h("a", { href: `#/tasks/${encodeURIComponent(name)}` }, name), badge(`v${one.version}`)),
    h("p", { class: "label" }, breakable(shown ?? "–")),
    isNumber(score) && h("p", { class: "score" }, meter(score), h("span", {}, percent(score))),
    labels(one.scores),
  );
}

function labels(scores) {
  if (!isObject(scores)) return null;
  const sorted = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  const rest = sorted.length - SHOWN_LABELS;
  return h(
    "details",
    {},
    h("summary", {}, plural(sorted.length, "label")),
    h(
      "ul",
      { class: "scores" },
      sorted.slice(0, SHOWN_LABELS).map(([label, score]) => h("li", {}, h("span", { class: "name" }, label), meter(score), h("span", { class: "figure" }, percent(score)))),
    ),
    rest > 0 && h("p", { class: "hint" }, `and ${count(rest)} less likely`),
  );
}

function skipped(tasks) {
  const some = list(tasks);
  if (!some.length) return null;
  return notice("warn", h("p", {}, "These tasks did not answer:"), h("ul", {}, some.map((one) => h("li", {}, `${one.task}: ${one.reason ?? one.message ?? ""}`))));
}

function history(result) {
  result.append(
    section(
      "Asked in this tab",
      table(
        "Asked in this tab",
        ["Text", number("Passes"), wide("Answers", "number"), number("Time")],
        asked.map((one) =>
          h(
            "tr",
            {},
            h("td", { class: "clip rest" }, one.input),
            h("td", { class: "number" }, one.passes ? count(one.passes) : badge("0, cached", "good")),
            h("td", { class: "number wide-only" }, count(one.answers)),
            h("td", { class: "number" }, milliseconds(one.ms)),
          ),
        ),
      ),
    ),
  );
}
