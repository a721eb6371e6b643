// The report of one version. Imported versions may bring any report: each part is shown alone, and a
// part that makes no sense does not take the others with it.

import { fill, h } from "../dom.js";
import { count, decimal, isNumber, isObject, list, percent, plural, short } from "../format.js";
import { badge, breakable, notice, number, section, table, tile, tiles } from "../parts.js";
import { confusionPart } from "./confusion.js";
import { calibratedFrom, calibrationPart, coveragePart, learningPart } from "./curves.js";
import { settingsPart } from "./settings.js";

const FIRST_LABELS = 12;
const SOURCES = {
  held_out: "held-out rows",
  given: "rows that were given",
  cross_validated: "cross-validated rows",
  none: "no rows",
};

export function reportPanel(version, refresh, signal) {
  const report = isObject(version.report) ? version.report : null;
  const title = `Report of version ${version.version}`;
  if (!report) return section(title, notice("warn", "This version came without a report."));
  return section(
    title,
    part(() => summary(report)),
    part(() => warnings(report)),
    h(
      "div",
      { class: "grid" },
      part(() => confusionPart(report.confusion)),
      part(() => labelsPart(report)),
      part(() => calibrationPart(report.calibration, signal)),
      part(() => coveragePart(report, signal)),
      part(() => learningPart(version, signal)),
      part(() => settingsPart(version, refresh)),
    ),
    part(() => making(report)),
  );
}

/** What a version was worth on the rows of a file: a report that is no version's. */
export function evaluationParts(report, file, signal) {
  const on = ` on ${file}`; // tells its tables from those of the version's own report
  return [
    part(() => summary(report)),
    part(() => warnings(report)),
    h(
      "div",
      { class: "grid" },
      part(() => confusionPart(report.confusion, on)),
      part(() => labelsPart(report, on)),
      part(() => calibrationPart(report.calibration, signal)),
    ),
  ];
}

function part(make) {
  try {
    return make();
  } catch {
    return notice("warn", "A part of this report cannot be shown.");
  }
}

function summary(report) {
  const rows = `${count(report.n_test)} ${SOURCES[report.test_source] ?? "rows"}`;
  if (report.kind === "regression") {
    return tiles(
      tile("Mean absolute error", short(report.mae), `always the mean: ${short(report.baseline_mae)}`),
      tile("R²", decimal(report.r2), "share of the variance explained"),
      tile("Tested on", count(report.n_test), SOURCES[report.test_source] ?? "rows"),
    );
  }
  const interval = list(report.accuracy_interval).filter(isNumber);
  const gain = isObject(report.gain_over_majority) ? report.gain_over_majority : null;
  const calibration = isObject(report.calibration) ? report.calibration : null;
  return tiles(
    tile("Accuracy", percent(report.accuracy), interval.length === 2 ? `${percent(interval[0])} to ${percent(interval[1])} (95%)` : rows, "accent"),
    tile("Always the most frequent", percent(report.majority_accuracy), gain ? `${gain.low > 0 ? "clearly" : "not clearly"} beaten` : "for comparison"),
    tile("Macro F1", decimal(report.macro_f1), "the mean over labels"),
    tile("Tested on", count(report.n_test), SOURCES[report.test_source] ?? "rows"),
    calibration && tile("Calibration error", decimal(calibration.ece_after), calibratedFrom(calibration) || "confidence against truth"),
  );
}

function warnings(report) {
  const found = list(report.warnings).filter((one) => typeof one === "string");
  if (!found.length) return null;
  return notice("warn", h("h3", {}, "Before you trust it"), h("ul", {}, found.slice(0, 20).map((one) => h("li", {}, one))));
}

function labelsPart(report, on = "") {
  const labels = list(report.per_class).filter(isObject);
  if (!labels.length) return null;
  const worst = [...labels].sort((a, b) => a.f1 - b.f1);
  const holder = h("div", { class: "stack" });
  const show = (all) =>
    fill(
      holder,
      table(
        `Figures by label${on}`,
        ["Label", number("Precision"), number("Recall"), number("F1"), number("Rows")],
        worst.slice(0, all ? worst.length : FIRST_LABELS).map((one) =>
          h(
            "tr",
            {},
            h("td", { class: "clip" }, breakable(one.label)),
            h("td", { class: "number" }, percent(one.precision, 0)),
            h("td", { class: "number" }, percent(one.recall, 0)),
            h("td", { class: "number" }, decimal(one.f1, 2)),
            h("td", { class: "number" }, count(one.support)),
          ),
        ),
      ),
      !all && worst.length > FIRST_LABELS && h("button", { type: "button", class: "quiet", onclick: () => show(true) }, `Show all ${count(worst.length)}`),
    );
  show(false);
  return h("div", { class: "part" }, h("h3", {}, worst.length > 2 ? "By label, the weakest first" : "By label"), holder);
}

function making(report) {
  const seconds = isObject(report.seconds) ? report.seconds : {};
  const usage = isObject(report.usage) ? report.usage : {};
  const chosen = isObject(report.hyperparameters) ? Object.entries(report.hyperparameters) : [];
  return h(
    "p",
    { class: "badges" },
    badge(`head ${report.head ?? "–"}`),
    badge(`${count(report.n_train)} rows trained on`),
    isNumber(usage.encoded) && badge(`${plural(usage.encoded, "pass", "passes")}, ${count(usage.cached)} cached`),
    isNumber(seconds.encode) && badge(`encoded in ${short(seconds.encode)} s`),
    isNumber(seconds.fit) && badge(`fitted in ${short(seconds.fit)} s`),
    chosen.slice(0, 8).map(([name, value]) => badge(`${name} ${isNumber(value) ? short(value) : JSON.stringify(value)}`)),
  );
}
