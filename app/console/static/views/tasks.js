// All tasks.

import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { count, decimal, KINDS, list, percent, plural } from "../format.js";
import { badge, empty, number, table, wide } from "../parts.js";
import { driftBadge } from "./drift.js";

export async function tasksView(root, _, signal) {
  fill(root, h("h1", {}, "Tasks"), h("p", { class: "hint" }, "Loading…"));
  const [{ data }, { drift }] = await Promise.all([api("/v1/tasks", { signal }), api("/v1/stats", { signal })]);
  const tasks = list(data);
  if (!tasks.length) {
    fill(root, h("h1", {}, "Tasks"), empty("No tasks yet", h("p", {}, "A file of labelled examples makes one."), h("a", { class: "button", href: "#/train" }, "Train a task")));
    return;
  }
  const rows = h("div", { class: "panel" });
  const find = h("input", { type: "search", id: "find", placeholder: "Name or label", oninput: () => show() });
  const show = () => {
    const wanted = find.value.trim().toLowerCase();
    const found = tasks.filter((task) => matches(task, wanted));
    fill(rows, found.length ? listing(found, drift ?? {}) : empty("Nothing found", h("p", {}, "No task has that name or label.")));
  };
  fill(
    root,
    h("div", { class: "heading" }, h("h1", {}, "Tasks"), h("a", { class: "button", href: "#/train" }, "Train a task")),
    h("p", { class: "lead" }, `${plural(tasks.length, "task")}, all answered from the same codes.`),
    h("div", { class: "find" }, h("label", { for: "find" }, "Find"), find),
    rows,
  );
  show();
}

function matches(task, wanted) {
  return !wanted || task.name.includes(wanted) || list(task.labels).some((label) => label.toLowerCase().includes(wanted));
}

function listing(tasks, drift) {
  return table(
    "Tasks",
    ["Task", wide("Answers with"), wide("Labels", "number"), number("Active"), wide("Versions", "number"), number("Accuracy"), wide("Macro F1", "number")],
    tasks.map((task) => {
      const active = list(task.versions).find((version) => version.active);
      return h(
        "tr",
        {},
        h(
          "td",
          { class: "main" },
          h("a", { href: `#/tasks/${encodeURIComponent(task.name)}` }, task.name),
          task.shadow_version && badge(`shadow v${task.shadow_version}`, "accent"),
          driftBadge(drift[task.name]),
          h("span", { class: "hint below" }, task.description ?? ""),
        ),
        h("td", { class: "wide-only" }, KINDS[task.kind] ?? task.kind),
        h("td", { class: "number wide-only" }, task.kind === "regression" ? "–" : count(list(task.labels).length)),
        h("td", { class: "number" }, task.active_version ? badge(`v${task.active_version}`, "good") : badge("none", "warn")),
        h("td", { class: "number wide-only" }, count(list(task.versions).length)),
        h("td", { class: "number" }, percent(active?.accuracy)),
        h("td", { class: "number wide-only" }, decimal(active?.macro_f1)),
      );
    }),
  );
}
