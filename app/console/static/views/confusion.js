// Which labels are taken for which.

import { h } from "../dom.js";
import { count, isNumber, list, percent } from "../format.js";
import { breakable, number, table } from "../parts.js";

const MATRIX_UP_TO = 12; // labels; a larger one is a list of what is confused most
const NARROW_UP_TO = 4; // labels; such a matrix leaves room beside it
const SHOWN = 12;

export function confusionPart(confusion, on = "") {
  const labels = list(confusion?.labels).map(String);
  const matrix = list(confusion?.matrix).map(list);
  if (!labels.length || matrix.length !== labels.length) return null;
  return h(
    "div",
    { class: labels.length > NARROW_UP_TO && labels.length <= MATRIX_UP_TO ? "part wide" : "part" },
    h("h3", {}, "Confusion"),
    labels.length <= MATRIX_UP_TO ? [h("p", { class: "hint" }, "Rows: the truth. Columns: the answers. Darker: a larger share of its row."), grid(labels, matrix, on)] : null,
    labels.length > 4 && worst(labels, matrix, on),
  );
}

function grid(labels, matrix, on) {
  return table(
    `Confusion matrix${on}`,
    ["Truth", ...labels.map((label) => ({ text: label, kind: "number clip narrow" }))],
    matrix.map((row, place) => {
      const total = row.reduce((sum, one) => sum + (isNumber(one) ? one : 0), 0);
      return h("tr", {}, h("th", { scope: "row", class: "clip" }, labels[place]), row.slice(0, labels.length).map((one, answer) => cell(one, total, place === answer)));
    }),
    "matrix",
  );
}

function cell(one, total, right) {
  const share = total && isNumber(one) ? one / total : 0;
  const strength = Math.round(share * 80);
  return h(
    "td",
    {
      class: `number cell ${right ? "right" : "wrong"}`,
      title: `${percent(share)} of the row`,
      style: { "--strength": `${strength}%` },
    },
    one ? count(one) : h("span", { class: "faint" }, "0"),
  );
}

function worst(labels, matrix, on) {
  const pairs = [];
  matrix.forEach((row, truth) =>
    row.forEach((one, answer) => {
      if (truth !== answer && isNumber(one) && one > 0) pairs.push({ truth, answer, one });
    }),
  );
  pairs.sort((a, b) => b.one - a.one);
  if (!pairs.length) return h("p", { class: "hint" }, "No row was answered wrong.");
  return [
    h("h4", {}, "Confused most"),
    table(
      `Labels confused most${on}`,
      ["Truth", "Answered", number("Rows")],
      pairs.slice(0, labels.length > MATRIX_UP_TO ? SHOWN : 5).map((pair) =>
        h("tr", {}, h("td", { class: "clip" }, breakable(labels[pair.truth])), h("td", { class: "clip" }, breakable(labels[pair.answer] ?? "–")), h("td", { class: "number" }, count(pair.one))),
      ),
    ),
  ];
}
