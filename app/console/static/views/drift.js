// Whether what is asked of a task is like what it was trained on.

import { api, path } from "../api.js";
import { fill, h } from "../dom.js";
import { count, decimal, isNumber, list, percent, plural, sentence } from "../format.js";
import { badge, breakable, empty, number, problem, section, table, tile, tiles } from "../parts.js";

/** A badge for a task that is known to be asked about other texts; nothing for the others. */
export function driftBadge(drift) {
  return isNumber(drift) && drift > 1 && badge(`shifted ${decimal(drift)}`, "warn");
}

export function driftPanel(task, signal) {
  const holder = h("div", {}, h("p", { class: "hint" }, "Loading…"));
  const load = async () => {
    try {
      fill(holder, body(await api(path`/v1/tasks/${task.name}/drift`, { signal })));
    } catch (error) {
      if (error.name !== "AbortError") fill(holder, problem(error));
    }
  };
  load();
  return section("Drift", holder, h("div", { class: "actions" }, h("button", { type: "button", class: "quiet", "aria-label": "Refresh the drift", onclick: load }, "Refresh")));
}

function body(found) {
  if (!isNumber(found.drift)) return empty("Not known", h("p", {}, sentence(found.reason)));
  return h(
    "div",
    { class: "stack" },
    tiles(
      tile("Live texts are", found.shifted ? "shifted" : "as in training", `drift ${decimal(found.drift)}; chance stays under 1`, found.shifted ? "warn" : ""),
      tile("Distance", decimal(found.distance), "standard deviations of the training rows"),
      tile("Texts", count(found.texts), `the newest of this process, against ${plural(found.training_rows, "training row")}`),
    ),
    found.answers && answers(found.answers),
  );
}

function answers({ share, by_chance, labels }) {
  return h(
    "div",
    { class: "stack close" },
    h("p", { class: "hint" }, `${percent(share)} of the answers would have to be others to be given as often as in training; by chance ${percent(by_chance)}.`),
    table(
      "Answers",
      ["Label", number("In training"), number("Live")],
      list(labels).map((one) => h("tr", {}, h("td", { class: "main" }, breakable(one.label)), h("td", { class: "number" }, percent(one.trained)), h("td", { class: "number" }, percent(one.live)))),
    ),
  );
}
