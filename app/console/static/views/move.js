// A version as one file: to keep, or for another service.

import { api, download, path } from "../api.js";
import { fill, h } from "../dom.js";
import { plural } from "../format.js";
import { asked, notice, problem, section } from "../parts.js";
import { field } from "./file.js";

export const HEAD_FILE = /\.safetensors$/i;

/** Ask what goes into the file, and save it. */
export async function exportVersion(name, version) {
  const rows = h("input", { type: "checkbox", id: "export-rows" });
  const text = "Its weights, labels, report and settings. The texts are not in it: they are stored nowhere.";
  const more = h("label", { class: "check", for: "export-rows" }, rows, "Its stored codes and labels too (to compare with it, or train on top of it, elsewhere)");
  if (!(await asked(`Export version ${version}`, text, "Save the file", { more }))) return;
  const address = path`/v1/tasks/${name}/versions/${version}/export`;
  const file = await download(rows.checked ? `${address}?rows=true` : address);
  const url = URL.createObjectURL(file);
  h("a", { href: url, download: `${name}-${version}.safetensors` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The task that a head's file is to go to. */
export function importForm({ file, tasks, wanted, signal }) {
  const name = h("input", { id: "import-task", value: wanted ?? taskOf(file.name), list: "import-tasks", required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,63}", maxlength: 64, spellcheck: "false", autocomplete: "off" });
  const activate = h("input", { type: "checkbox", id: "import-activate" });
  const button = h("button", { type: "submit" }, "Import");
  const said = h("div", { class: "stack", "aria-live": "polite" });
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const query = activate.checked ? "?activate=true" : "";
      const task = name.value.trim();
      const made = await api(path`/v1/tasks/${task}/versions/import` + query, { method: "POST", body: file, signal });
      fill(said, done(made));
    } catch (error) {
      if (error.name !== "AbortError") fill(said, problem(error));
    } finally {
      button.disabled = false;
    }
  };
  return section(
    file.name,
    h("p", { class: "hint" }, `${plural(Math.ceil(file.size / 1024), "kilobyte")}. It becomes the task's next version, and answers where the encoder is the same.`),
    h(
      "form",
      { onsubmit: submit },
      h("div", { class: "fields" }, field("import-task", "Task", name, h("p", { class: "hint" }, "Made if there is none of this name."))),
      h("datalist", { id: "import-tasks" }, tasks.map((task) => h("option", { value: task.name }))),
      h("div", { class: "actions" }, button, h("label", { class: "check", for: "import-activate" }, activate, "Let it answer at once (a task's first version always does)")),
      said,
    ),
  );
}

function done(made) {
  const link = `#/tasks/${encodeURIComponent(made.task)}/${made.version}`;
  return notice(
    "good",
    h("h3", {}, `Version ${made.version} of ${made.task} is there`),
    h("div", { class: "actions" }, h("a", { class: "button", href: link }, "See its report")),
  );
}

const taskOf = (name) =>
  name
    .replace(HEAD_FILE, "")
    .replace(/-\d+( ?\(\d+\))?$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-");
