// From which confidence a version answers, and from which probability it gives a label.

import { api, path } from "../api.js";
import { fill, h } from "../dom.js";
import { decimal, isNumber, isObject, list, percent } from "../format.js";
import { problem } from "../parts.js";

export function settingsPart(version, refresh) {
  const said = h("div", { class: "stack", "aria-live": "polite" });
  const save = async (changed) => {
    try {
      await api(path`/v1/tasks/${version.task}/versions/${version.version}`, { method: "PATCH", json: changed });
      await refresh();
    } catch (error) {
      if (error.name !== "AbortError") fill(said, problem(error));
    }
  };
  if (version.kind === "single_label") return confidencePart(version, save, said);
  if (version.kind === "multi_label") return thresholdsPart(version, save, said);
  return null;
}

function confidencePart({ settings }, save, said) {
  const input = h("input", { type: "number", id: "confidence", min: 0, max: 1, step: 0.01, value: settings.min_confidence ?? "", placeholder: "none" });
  const submit = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    save({ min_confidence: text === "" ? null : Number(text) });
  };
  return h(
    "div",
    { class: "part" },
    h("h3", {}, "Not sure under"),
    h("p", { class: "hint" }, "Under this confidence the version gives no label. Empty: it always answers."),
    h("form", { class: "inline", onsubmit: submit }, h("label", { for: "confidence" }, "Confidence"), input, h("button", { type: "submit", class: "quiet" }, "Set")),
    worth(settings),
    said,
  );
}

function thresholdsPart(version, save, said) {
  const { settings } = version;
  const trained = isObject(version.report?.thresholds) ? version.report.thresholds : {};
  const byHand = isObject(settings.thresholds) ? settings.thresholds : {};
  const inputs = list(version.labels).map((label, place) => {
    const id = `threshold-${place}`;
    const control = h("input", {
      type: "number", id, min: 0, max: 1, step: 0.01, value: byHand[label] ?? "", placeholder: isNumber(trained[label]) ? decimal(trained[label], 2) : "trained",
    });
    return { label, control, row: h("div", { class: "threshold" }, h("label", { for: id, title: label }, label), control) };
  });
  const submit = (event) => {
    event.preventDefault();
    const set = inputs.filter(({ control }) => control.value.trim() !== "");
    save({ thresholds: set.length ? Object.fromEntries(set.map(({ label, control }) => [label, Number(control.value)])) : null });
  };
  return h(
    "div",
    { class: "part" },
    h("h3", {}, "Thresholds"),
    h("p", { class: "hint" }, "A label is given where its probability is above its threshold. Empty: as it was trained, the figure in grey."),
    h(
      "form",
      { onsubmit: submit },
      h("div", { class: "thresholds" }, inputs.map(({ row }) => row)),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "submit", class: "quiet" }, "Set thresholds"),
        h("button", { type: "button", class: "quiet", onclick: () => save({ thresholds: null }) }, "All as trained"),
      ),
    ),
    worth(settings),
    said,
  );
}

const worth = (settings) =>
  isNumber(settings.coverage) &&
  h("p", { class: "hint" }, `On its held-out rows: ${percent(settings.coverage)} answered, ${percent(settings.accuracy)} of those right.`);
