// A version on texts that were labelled since.

import { api, path } from "../api.js";
import { lookInto } from "../csv.js";
import { fill, h } from "../dom.js";
import { badge, notice, problem, section } from "../parts.js";
import { plural } from "../format.js";
import { columnChoice, dropZone } from "./file.js";
import { followJob } from "./job.js";
import { evaluationParts } from "./report.js";

export function evaluatePanel(name, version, signal) {
  const form = h("div", { class: "stack" });
  const found = h("div", { class: "stack" });
  const chosen = async (file) => {
    fill(found);
    fill(form, h("p", { class: "hint" }, "Reading…"));
    try {
      const look = await lookInto(file);
      if (!signal.aborted) fill(form, formFor({ name, version, file, look, found, signal }));
    } catch (error) {
      fill(form, notice("error", h("p", { role: "alert" }, error.message)));
    }
  };
  const zone = { id: "later-file", kind: "small", accept: ".csv,.tsv,.jsonl,.ndjson" };
  return section(
    `Test version ${version}`,
    h("p", { class: "hint" }, "On texts that were labelled since. The version and its own report stay as they are."),
    dropZone({ ...zone, title: "Drop labelled texts here", hint: "CSV, TSV or JSON lines" }, chosen),
    form,
    found,
  );
}

function formFor({ name, version, file, look, found, signal }) {
  const columns = columnChoice(look, "later-");
  const button = h("button", { type: "submit" }, "Test");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const body = new FormData();
    body.append("file", file, file.name);
    columns.addTo(body);
    try {
      const job = await api(path`/v1/tasks/${name}/versions/${version}/evaluate`, { method: "POST", body, signal });
      fill(found, followJob(job, signal, (ended) => fill(found, outcome(ended, file.name, signal))));
    } catch (error) {
      if (error.name !== "AbortError") fill(found, problem(error));
    } finally {
      button.disabled = false;
    }
  };
  const rows = plural(look.rows.length, "row");
  return h(
    "form",
    { onsubmit: submit },
    h("p", { class: "badges" }, badge(file.name), badge(look.whole ? rows : `over ${rows}`)),
    columns.fields.length > 0 && h("div", { class: "fields" }, columns.fields),
    h("div", { class: "actions" }, button),
  );
}

function outcome(job, name, signal) {
  if (job.status !== "succeeded") return notice("error", h("p", { role: "alert" }, job.error?.message ?? "No reason is known."));
  return [h("div", { role: "status" }, h("h3", {}, `On ${name}`)), evaluationParts(job.report, name, signal)];
}
