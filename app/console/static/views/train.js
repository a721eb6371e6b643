// From a file of labelled examples to a version with a report.

import { api, path } from "../api.js";
import { lookInto } from "../csv.js";
import { fill, h } from "../dom.js";
import { count, KINDS, list, percent, plural } from "../format.js";
import { badge, notice, number, problem, section, table } from "../parts.js";
import { columnChoice, dropZone, field, selection } from "./file.js";
import { jobsPanel, jobView } from "./job.js";
import { HEAD_FILE, importForm } from "./move.js";

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const HEADS = {
  auto: "automatic",
  linear: "linear",
  mlp: "mlp",
  prototype: "prototype",
};

const ZONE = {
  title: "Drop a CSV here",
  hint: "CSV, TSV or JSON lines, in UTF-8, with a header; or an exported version (.safetensors)",
  accept: ".csv,.tsv,.jsonl,.ndjson,.safetensors",
};

export async function trainView(root, [wanted], signal) {
  const tasks = list((await api("/v1/tasks", { signal })).data);
  const page = { drop: h("div", {}), form: h("div", {}), job: h("div", {}), jobs: h("div", {}) };
  const follow = (job) => fill(page.job, jobView(job, signal, () => fill(page.jobs, jobsPanel(signal, follow))));
  const chosen = async (file) => {
    if (HEAD_FILE.test(file.name)) return fill(page.form, importForm({ file, tasks, wanted, signal }));
    fill(page.form, h("p", { class: "hint" }, "Reading…"));
    try {
      const look = await lookInto(file);
      if (signal.aborted) return;
      fill(page.form, formFor({ file, look, tasks, wanted, follow, signal }));
    } catch (error) {
      fill(page.form, notice("error", h("p", { role: "alert" }, error.message)));
    }
  };
  fill(page.drop, dropZone(ZONE, chosen));
  fill(page.jobs, jobsPanel(signal, follow));
  fill(
    root,
    h("h1", {}, wanted ? `Train a version of ${wanted}` : "Train a task"),
    h("p", { class: "lead" }, "A file with a text and its label on each row. Texts are encoded, once, and not stored; codes and labels are."),
    Object.values(page),
  );
}

function formFor({ file, look, tasks, wanted, follow, signal }) {
  const columns = columnChoice(look);
  const { text, label } = columns;
  const name = h("input", { id: "task", value: wanted ?? slug(file.name), list: "known-tasks", required: true, maxlength: 64, spellcheck: "false", autocomplete: "off", oninput: () => check() });
  const kind = selection("kind", Object.entries(KINDS), "single_label");
  const head = selection("head", Object.entries(HEADS), "auto");
  const activate = h("input", { type: "checkbox", id: "activate" });
  const said = h("p", { class: "hint", id: "task-said" });
  const preview = h("div", { class: "stack" });
  const problems = h("div", { class: "stack", "aria-live": "polite" });
  const button = h("button", { type: "submit" }, "Train");
  name.setAttribute("aria-describedby", "task-said");

  const known = () => tasks.find((task) => task.name === name.value.trim());
  const check = () => {
    const task = known();
    const valid = NAME.test(name.value.trim());
    name.setCustomValidity(valid ? "" : "Small letters, digits, - and _; at most 64.");
    kind.disabled = Boolean(task);
    if (task) kind.value = task.kind;
    const next = task && (list(task.versions).at(-1)?.version ?? 0) + 1;
    if (!valid) said.textContent = "Small letters, digits, - and _; at most 64.";
    else said.textContent = task ? `There is such a task: this trains version ${next} or later of it.` : "A new task.";
    look_again();
  };
  const look_again = () => fill(preview, previewOf(look, text.value, label.value, kind.value));
  for (const select of [kind, text, label]) select.addEventListener("change", look_again);

  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(problems, h("p", { class: "hint" }, "Sending the file…"));
    try {
      const task = name.value.trim();
      if (!known()) await api(path`/v1/tasks/${task}`, { method: "PUT", json: { kind: kind.value }, signal });
      const body = new FormData();
      body.append("file", file, file.name);
      columns.addTo(body);
      body.append("head", head.value);
      if (activate.checked) body.append("activate", "true");
      const job = await api(path`/v1/tasks/${task}/versions`, { method: "POST", body, signal });
      fill(problems);
      follow(job);
    } catch (error) {
      if (error.name !== "AbortError") fill(problems, problem(error));
    } finally {
      button.disabled = false;
    }
  };
  const form = section(
    file.name,
    h(
      "form",
      { onsubmit: submit },
      h(
        "div",
        { class: "fields" },
        field("task", "Task", name, said),
        field("kind", "Answers with", kind),
        columns.fields,
        field("head", "Head", head),
      ),
      h("datalist", { id: "known-tasks" }, tasks.map((task) => h("option", { value: task.name }))),
      preview,
      h("div", { class: "actions" }, button, h("label", { class: "check", for: "activate" }, activate, "Let it answer at once (a task's first version always does)")),
      problems,
    ),
  );
  check();
  return form;
}

function previewOf(look, textColumn, labelColumn, kind) {
  const place = (name, others) => look.columns.indexOf(look.json ? others.find((one) => look.columns.includes(one)) : name);
  const texts = place(textColumn, ["text"]);
  const labels = place(labelColumn, ["label", "labels", "value"]);
  if (texts < 0 || labels < 0) return notice("warn", "Each line needs a text and a label.");
  if (texts === labels) return notice("warn", "The text and the label are the same column.");
  const rows = plural(look.rows.length, "row");
  return [
    h("p", { class: "badges" }, badge(look.whole ? rows : `over ${rows}`), kind !== "regression" && labelCounts(look.rows.map((row) => row[labels] ?? ""), kind)),
    table(
      "The first rows",
      ["Text", "Label"],
      look.rows.slice(0, 4).map((row) => h("tr", {}, h("td", { class: "clip rest" }, row[texts] ?? ""), h("td", { class: "clip" }, row[labels] ?? ""))),
    ),
  ];
}

function labelCounts(cells, kind) {
  const counts = new Map();
  for (const cell of cells) {
    for (const label of kind === "multi_label" ? cell.split("|") : [cell]) {
      const name = label.trim();
      if (name) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const share = sorted.length ? sorted[0][1] / cells.length : 0;
  return [
    badge(plural(sorted.length, "label")),
    sorted.slice(0, 6).map(([label, times]) => badge(`${label} ${count(times)}`, "plain")),
    sorted.length > 6 && badge(`and ${count(sorted.length - 6)} more`, "plain"),
    share > 0.9 && badge(`${percent(share, 0)} have the same label`, "warn"),
    sorted.some(([, times]) => times === 1) && badge("a label has one example", "warn"),
  ];
}

const slug = (name) =>
  name
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 64) || "my-task";
