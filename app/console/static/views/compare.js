// Two versions on the rows that neither was trained on.

import { api, path } from "../api.js";
import { fill, h } from "../dom.js";
import { count, decimal, isNumber, isObject, list, percent, plural, short } from "../format.js";
import { number, problem, section, table, tile, tiles } from "../parts.js";

const SHOWN = 20;

export function comparePanel(task, signal) {
  const versions = list(task.versions).map((one) => one.version);
  const active = task.active_version ?? versions[0];
  const other = versions.filter((one) => one !== active).at(-1);
  const choice = (id, label, chosen) => {
    const select = h("select", { id }, versions.map((one) => h("option", { value: one, selected: one === chosen }, `v${one}${one === active ? " (active)" : ""}`)));
    return [h("label", { for: id }, label), select];
  };
  const a = choice("compare-a", "Compare", active);
  const b = choice("compare-b", "with", other);
  const found = h("div", { class: "stack", "aria-live": "polite" });
  const run = async (event) => {
    event.preventDefault();
    const pair = { a: Number(a[1].value), b: Number(b[1].value) };
    try {
      fill(found, result(await api(path`/v1/tasks/${task.name}/versions/compare`, { method: "POST", json: pair, signal }), pair));
    } catch (error) {
      if (error.name !== "AbortError") fill(found, problem(error));
    }
  };
  return section("Compare", h("form", { class: "inline", onsubmit: run }, a, b, h("button", { type: "submit", class: "quiet" }, "Compare")), found);
}

function result(found, { a, b }) {
  const { difference } = found;
  const value = isNumber(found.a.mae);
  const figure = (one) => (value ? short(one.mae) : percent(one.accuracy));
  const sign = (number) => `${number > 0 ? "+" : ""}${value ? short(number) : percent(number)}`;
  const clear = difference.low > 0 || difference.high < 0;
  const better = value ? difference.mean < 0 : difference.mean > 0;
  return h(
    "div",
    { class: "stack" },
    tiles(
      tile(`v${a}`, figure(found.a), value ? "mean absolute error" : "accuracy"),
      tile(`v${b}`, figure(found.b), value ? "mean absolute error" : "accuracy"),
      tile("Difference", sign(difference.mean), `${sign(difference.low)} to ${sign(difference.high)} (95%)`, clear ? (better ? "good" : "bad") : ""),
      found.mcnemar && tile("McNemar's p", decimal(found.mcnemar.p_value), `only v${a} right: ${count(found.mcnemar.only_a)}, only v${b}: ${count(found.mcnemar.only_b)}`),
    ),
    h("p", { class: "hint" }, `${plural(found.rows, "row")} held out by one and trained on by neither. ${clear ? "" : "The interval holds 0: these rows do not tell the two apart."}`),
    changes(found, a, b),
  );
}

function changes(found, a, b) {
  const rows = list(found.changed);
  if (!rows.length) return isObject(found.mcnemar) ? h("p", { class: "hint" }, "No row is answered differently.") : null;
  const shown = (answer) => (Array.isArray(answer) ? answer.join(", ") || "none" : answer);
  return [
    h("h3", {}, `Answered differently: ${count(found.changed_count)}`),
    table(
      "Rows that are answered differently",
      ["Row", "Truth", `v${a}`, `v${b}`],
      rows.slice(0, SHOWN).map((row) =>
        h(
          "tr",
          {},
          h("td", { class: "nowrap" }, `${row.part === "test_examples" ? "test " : ""}${row.row} of v${row.version}`),
          h("td", {}, shown(row.truth)),
          h("td", {}, shown(row.a)),
          h("td", {}, shown(row.b)),
        ),
      ),
    ),
    found.changed_count > SHOWN && h("p", { class: "hint" }, `The first ${SHOWN}. Rows are counted in the file that the version was trained with.`),
  ];
}
