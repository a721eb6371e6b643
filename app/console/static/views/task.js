// One task: its versions, what can be done with them, and the report of one.

import { api, path } from "../api.js";
import { fill, h } from "../dom.js";
import { date, decimal, isObject, KINDS, list, percent, plural } from "../format.js";
import { asked, badge, empty, number, problem, section, table, toast, wide } from "../parts.js";
import { comparePanel } from "./compare.js";
import { driftPanel } from "./drift.js";
import { evaluatePanel } from "./evaluate.js";
import { exportVersion } from "./move.js";
import { reportPanel } from "./report.js";
import { shadowPanel } from "./shadow.js";

export async function taskView(root, [name, wanted], signal) {
  const state = { name, task: null, selected: wanted ? Number(wanted) : null };
  const page = {
    head: h("div", {}),
    versions: h("div", {}),
    drift: h("div", {}),
    shadow: h("div", {}),
    compare: h("div", {}),
    report: h("div", {}),
    evaluate: h("div", {}),
    end: h("div", {}),
  };
  fill(root, h("p", { class: "crumb" }, h("a", { href: "#/tasks" }, "Tasks")), Object.values(page));
  fill(page.head, h("h1", {}, name), h("p", { class: "hint" }, "Loading…"));

  const refresh = async () => {
    state.task = await api(path`/v1/tasks/${name}`, { signal });
    const versions = list(state.task.versions).map((one) => one.version);
    if (!versions.includes(state.selected)) state.selected = state.task.active_version ?? versions.at(-1) ?? null;
    fill(page.head, head(state.task));
    fill(page.versions, versionsPanel(state, act, select));
    fill(page.drift, state.task.active_version && driftPanel(state.task, signal));
    fill(page.shadow, state.task.shadow_version && shadowPanel(state.task, act, signal));
    fill(page.compare, versions.length > 1 && comparePanel(state.task, signal));
    if (state.selected !== null) await showReport();
    else fill(page.report);
    showEvaluation();
    fill(page.end, h("div", { class: "actions" }, h("button", { type: "button", class: "quiet danger", onclick: () => removeTask(state.task).catch((error) => page.versions.prepend(problem(error))) }, "Delete the task")));
  };

  // Its file and figures stay as long as the same version is looked at.
  const showEvaluation = () => {
    if (state.tested === state.selected) return;
    state.tested = state.selected;
    fill(page.evaluate, state.selected !== null && evaluatePanel(name, state.selected, signal));
  };

  const showReport = async () => {
    const version = state.selected;
    try {
      const found = await api(path`/v1/tasks/${name}/versions/${version}`, { signal });
      if (version === state.selected) fill(page.report, reportPanel(found, refresh, signal));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      fill(page.report, problem(error));
    }
  };

  const select = (version) => {
    state.selected = version;
    history.replaceState(null, "", `#/tasks/${encodeURIComponent(name)}/${version}`);
    fill(page.versions, versionsPanel(state, act, select));
    showReport();
    showEvaluation();
  };

  // Everything that changes something: do it, show how things are then, say what went wrong.
  const act = async (work) => {
    try {
      await work();
      await refresh();
    } catch (error) {
      if (error.name === "AbortError") return;
      page.versions.prepend(problem(error));
    }
  };

  await refresh();
}

function head(task) {
  const labels = list(task.labels);
  return h(
    "div",
    { class: "stack close" },
    h("div", { class: "heading" }, h("h1", {}, task.name), h("a", { class: "button", href: `#/train/${encodeURIComponent(task.name)}` }, "Train a version")),
    h("p", { class: "lead" }, task.description ?? ""),
    h(
      "p",
      { class: "badges" },
      badge(`answers with ${KINDS[task.kind] ?? task.kind}`),
      task.kind !== "regression" && badge(plural(labels.length, "label")),
      task.ready_made && badge("ready made"),
      task.active_version ? badge(`version ${task.active_version} answers`, "good") : badge("no version answers", "warn"),
    ),
    card(task.card),
  );
}

function card(known) {
  if (!isObject(known)) return null;
  const lines = ["data", "source", "licence", "split"].filter((name) => typeof known[name] === "string");
  if (!lines.length) return null;
  return h(
    "details",
    { class: "card" },
    h("summary", {}, "Where it comes from"),
    h("dl", {}, lines.map((name) => [h("dt", {}, name), h("dd", {}, known[name])])),
  );
}

function versionsPanel(state, act, select) {
  const { task } = state;
  const versions = [...list(task.versions)].reverse();
  if (!versions.length) {
    return section("Versions", empty("No version yet", h("p", {}, "Train one from a file of labelled examples.")));
  }
  return section(
    "Versions",
    table(
      "Versions",
      ["Version", wide("Head"), wide("Made"), number("Accuracy"), wide("Macro F1", "number"), "Actions"],
      versions.map((one) =>
        h(
          "tr",
          { class: one.version === state.selected ? "selected" : null },
          h(
            "td",
            {},
            h(
              "button",
              {
                type: "button",
                class: "link",
                "aria-pressed": String(one.version === state.selected),
                "aria-label": `Report of version ${one.version}`,
                onclick: () => select(one.version),
              },
              `v${one.version}`,
            ),
            one.active && badge("active", "good"),
            one.version === task.shadow_version && badge("shadow", "accent"),
          ),
          h("td", { class: "wide-only" }, one.head),
          h("td", { class: "nowrap wide-only" }, date(one.created_at)),
          h("td", { class: "number" }, percent(one.accuracy)),
          h("td", { class: "number wide-only" }, decimal(one.macro_f1)),
          h("td", {}, h("div", { class: "actions tight" }, actions(task, one, act))),
        ),
      ),
    ),
  );
}

function actions(task, one, act) {
  const { name } = task;
  const button = (text, label, work, kind = "quiet") =>
    h("button", { type: "button", class: kind, "aria-label": `${label} version ${one.version}`, onclick: work }, text);
  const save = button("Export", "Export", () => act(() => exportVersion(name, one.version)));
  if (one.active) return [save];
  const older = task.active_version !== null && one.version < task.active_version;
  return [
    button(older ? "Roll back" : "Promote", older ? "Roll back to" : "Promote", () => act(() => promote(task, one.version, act)), ""),
    task.active_version !== null &&
      one.version !== task.shadow_version &&
      button("Shadow", "Shadow with", () => act(() => shadow(name, one.version))),
    save,
    button("Delete", "Delete", () => act(() => remove(name, one.version)), "quiet danger"),
  ];
}

async function promote(task, version, act) {
  const before = task.active_version;
  const activate = (number) => api(path`/v1/tasks/${task.name}/versions/${number}/activate`, { method: "POST" });
  await activate(version);
  toast(`Version ${version} of ${task.name} answers now.`, before === null ? null : "Undo", () => act(() => activate(before)));
}

const shadow = (name, version) => api(path`/v1/tasks/${name}/shadow`, { method: "PUT", json: { version } });

async function remove(name, version) {
  const text = "Its weights, report and stored rows go for good. Its number is not given again.";
  if (!(await asked(`Delete version ${version}?`, text, "Delete it", { kind: "danger" }))) return;
  await api(path`/v1/tasks/${name}/versions/${version}`, { method: "DELETE" });
  toast(`Version ${version} is deleted.`);
}

async function removeTask({ name, versions }) {
  const text = `It goes for good, with ${plural(list(versions).length, "version")}.`;
  if (!(await asked(`Delete ${name}?`, text, "Delete the task", { kind: "danger" }))) return;
  await api(path`/v1/tasks/${name}`, { method: "DELETE" });
  toast(`${name} is deleted.`);
  location.hash = "#/tasks";
}
