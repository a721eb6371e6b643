// The curves of a report: calibration, coverage, learning.

import { api, path } from "../api.js";
import { chart } from "../charts.js";
import { fill, h } from "../dom.js";
import { count, decimal, isNumber, isObject, list, percent, plural, short } from "../format.js";
import { number, problem, table } from "../parts.js";

const share = (value) => `${Math.round(value * 100)}%`;

/** The error before calibration, where a calibration was part of what is told: a test fits none. */
export function calibratedFrom({ ece_before: before, ece_after: after }) {
  return before === after ? "" : `before calibration ${decimal(before)}`;
}

export function calibrationPart(calibration, signal) {
  const bins = list(calibration?.bins).filter((bin) => isObject(bin) && bin.count > 0 && isNumber(bin.confidence) && isNumber(bin.accuracy));
  if (!bins.length) return null;
  bins.sort((a, b) => a.confidence - b.confidence);
  const note = calibratedFrom(calibration);
  const x = [0, ...bins.map((bin) => bin.confidence), 1];
  const drawn = chart(
    `Calibration: how often answers of each confidence are right. Expected error ${decimal(calibration.ece_after)}${note && `, ${note}`}.`,
    {
      x,
      xTitle: "Confidence",
      yTitle: "Right",
      xFormat: share,
      yFormat: share,
      xRange: [0, 1],
      yRange: [0, 1.02],
      series: [
        { label: "Perfect", colour: "muted", data: x, dash: [4, 4], width: 1 },
        { label: "This version", colour: "accent", data: [null, ...bins.map((bin) => bin.accuracy), null], points: 8 },
      ],
    },
    signal,
  );
  return h(
    "div",
    { class: "part" },
    h("h3", {}, "Calibration"),
    h("p", { class: "hint" }, `On the dashed line, answers are right as often as they say. Mean distance: ${decimal(calibration.ece_after)}${note && ` (${note})`}.`),
    drawn.element,
    numbers(
      ["Confidence", "Right", "Rows"],
      bins.map((bin) => [percent(bin.confidence), percent(bin.accuracy), count(bin.count)]),
    ),
  );
}

export function coveragePart(report, signal) {
  const points = list(report.coverage).filter((point) => isObject(point) && isNumber(point.min_confidence) && isNumber(point.coverage));
  if (points.length < 2) return null;
  const drawn = chart(
    "Share of rows answered and accuracy on those, by the confidence asked for",
    {
      x: points.map((point) => point.min_confidence),
      xTitle: "Not sure under",
      xFormat: share,
      yFormat: share,
      xRange: [0, 1],
      yRange: [0, 1.02],
      series: [
        { label: "Answered", colour: "second", data: points.map((point) => point.coverage) },
        { label: "Right of those", colour: "accent", data: points.map((point) => point.accuracy) },
      ],
    },
    signal,
  );
  return h(
    "div",
    { class: "part" },
    h("h3", {}, "If it may be not sure"),
    h("p", { class: "hint" }, "The more confidence is asked for, the fewer rows are answered, and the more of those are right."),
    drawn.element,
    numbers(
      ["Not sure under", "Answered", "Right of those"],
      points.map((point) => [share(point.min_confidence), percent(point.coverage), percent(point.accuracy)]),
    ),
  );
}

export function learningPart(version, signal) {
  const holder = h("div", { class: "stack", "aria-live": "polite" });
  const button = h("button", { type: "button", class: "quiet", onclick: () => load() }, "Make the curve");
  const load = async () => {
    button.disabled = true;
    fill(holder, h("p", { class: "hint" }, "Training on parts of the rows…"));
    try {
      const curve = await api(path`/v1/tasks/${version.task}/versions/${version.version}/learning-curve`, { signal });
      fill(holder, learning(curve, signal));
      button.remove();
    } catch (error) {
      if (error.name === "AbortError") return;
      // Without stored rows there is no curve: that is no fault.
      fill(holder, error.status === 409 ? h("p", { class: "hint" }, `${error.message}.`) : problem(error));
      button.disabled = false;
    }
  };
  return h(
    "div",
    { class: "part" },
    h("h3", {}, "Learning curve"),
    h("p", { class: "hint" }, "Would more rows help? Heads are trained on parts of the stored rows and tested on the held-out ones."),
    button,
    holder,
  );
}

function learning(curve, signal) {
  const points = list(curve.data);
  const value = points.some((point) => isNumber(point.mae));
  const score = (point) => (value ? point.mae : point.accuracy);
  const ends = (place) => points.map((point) => list(point.interval)[place] ?? null);
  const format = value ? short : share;
  const x = points.map((point) => point.rows);
  if (points.length < 2) return h("p", { class: "hint" }, "Too few rows for parts of them.");
  const low = Math.min(...points.map((point) => list(point.interval)[0] ?? score(point)));
  const drawn = chart(
    `Learning curve: ${points.map((point) => `${format(score(point))} with ${point.rows} rows`).join(", ")}`,
    {
      x,
      xTitle: "Training rows",
      yTitle: value ? "Mean absolute error" : "Accuracy",
      xFormat: count,
      yFormat: format,
      yRange: value ? null : [Math.max(0, Math.floor(low * 10 - 0.5) / 10), 1.02],
      xRange: [0, x.at(-1) * 1.05],
      series: [
        { label: value ? "Error" : "Accuracy", colour: "accent", data: points.map(score), points: 8 },
        ...(value ? [] : [{ label: "95% from", colour: "muted", data: ends(0), dash: [3, 4], width: 1 }, { label: "to", colour: "muted", data: ends(1), dash: [3, 4], width: 1 }]),
      ],
    },
    signal,
  );
  return [
    drawn.element,
    h("p", { class: "hint" }, `Tested on ${plural(curve.n_test, "held-out row")}. The last point is this version.`),
    numbers(
      ["Training rows", value ? "Mean absolute error" : "Accuracy", "95%"],
      points.map((point) => [count(point.rows), value ? short(score(point)) : percent(score(point)), list(point.interval).map((end) => percent(end)).join(" to ") || "–"]),
    ),
  ];
}

/** A chart's numbers, for those who cannot see it or want to copy them. */
export function numbers(heads, rows) {
  return h(
    "details",
    {},
    h("summary", {}, "As a table"),
    table(heads.join(", "), heads.map(number), rows.map((row) => h("tr", {}, row.map((cell) => h("td", { class: "number" }, cell))))),
  );
}
