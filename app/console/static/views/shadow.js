// What the shadow of a task would have answered.

import { api, path } from "../api.js";
import { fill, h } from "../dom.js";
import { count, isNumber, list, percent, plural, short } from "../format.js";
import { empty, number, problem, section, table, tile, tiles } from "../parts.js";

export function shadowPanel(task, act, signal) {
  const holder = h("div", {}, h("p", { class: "hint" }, "Loading…"));
  const load = async () => {
    try {
      fill(holder, body(await api(path`/v1/tasks/${task.name}/shadow`, { signal })));
    } catch (error) {
      if (error.name !== "AbortError") fill(holder, problem(error));
    }
  };
  load();
  const stop = () => act(() => api(path`/v1/tasks/${task.name}/shadow`, { method: "DELETE" }));
  return section(
    `Shadow: version ${task.shadow_version}`,
    holder,
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "quiet", "aria-label": "Refresh the shadow", onclick: load }, "Refresh"),
      h("button", { type: "button", class: "quiet", onclick: stop }, "End the shadow"),
    ),
  );
}

function body(found) {
  if (!found.texts) return empty("No text compared yet", h("p", {}, "It answers live traffic beside the active version; nobody is shown its answers."));
  const value = isNumber(found.mean_absolute_difference);
  return h(
    "div",
    { class: "stack" },
    tiles(
      tile("Texts", count(found.texts), found.dropped ? `${count(found.dropped)} more were not compared` : "compared by this process"),
      value
        ? tile("Mean difference", short(found.mean_difference), `absolute: ${short(found.mean_absolute_difference)}`)
        : tile("Answered differently", percent(found.rate), list(found.interval).map((one) => percent(one)).join(" to ") + " (95%)"),
    ),
    list(found.pairs).length > 0 &&
      table(
        "Answers that differ",
        ["Active", "Shadow", number("Texts")],
        list(found.pairs).slice(0, 10).map((pair) => h("tr", {}, h("td", {}, shown(pair.active)), h("td", {}, shown(pair.shadow)), h("td", { class: "number" }, count(pair.count)))),
      ),
    found.disagreements === 0 && h("p", { class: "hint" }, `${plural(found.texts, "text")}, all answered the same.`),
  );
}

function shown(answer) {
  if (answer === null) return "not sure";
  return Array.isArray(answer) ? answer.join(", ") || "none" : answer;
}
