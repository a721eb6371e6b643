// A file that is dropped or chosen, and the columns of it that are meant.

import { guess } from "../csv.js";
import { h } from "../dom.js";

/** A place to drop a file; `chosen` is called with each. `id` must be the page's only one. */
export function dropZone({ id = "file", title, hint, accept, kind = "" }, chosen) {
  const input = h("input", { type: "file", id, accept, onchange: () => input.files[0] && chosen(input.files[0]) });
  const zone = h(
    "div",
    {
      class: `drop ${kind}`,
      ondragover: (event) => {
        event.preventDefault();
        zone.classList.add("over");
      },
      ondragleave: () => zone.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        const [file] = event.dataTransfer.files;
        if (file) chosen(file);
      },
    },
    h("p", { class: "drop-title" }, title),
    h("p", { class: "hint" }, hint),
    h("label", { class: "button", for: id }, "Choose a file"),
    input,
  );
  return zone;
}

export const selection = (id, options, value) =>
  h("select", { id }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));

export const field = (id, text, control, hint) => h("div", { class: "field" }, h("label", { for: id }, text), control, hint);

/** Two selects of a table's columns, the likeliest ones chosen; none for JSON lines, which name them. */
export function columnChoice(look, before = "") {
  const guessed = guess(look.columns, look.rows);
  const columns = look.columns.map((column) => [column, column]);
  const text = selection(`${before}text-column`, columns, guessed.text);
  const label = selection(`${before}label-column`, columns, guessed.label);
  const fields = look.json
    ? []
    : [field(text.id, "Column of texts", text), field(label.id, "Column of labels", label)];
  const addTo = (form) => {
    if (look.json) return;
    form.append("text_column", text.value);
    form.append("label_column", label.value);
  };
  return { text, label, fields, addTo };
}
