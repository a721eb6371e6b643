// The question for an API key.

import { h } from "./dom.js";

/** Resolves to the key, to "" to go on without one, or to null where the question was closed. */
export function askForKey(message) {
  return new Promise((resolve) => {
    let given = null;
    const problem = h("p", { class: "problem", id: "key-problem", role: "alert" }, message ?? "");
    const input = h("input", {
      type: "password",
      id: "key-input",
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": "key-problem",
    });
    const form = h(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          const value = input.value.trim();
          if (!/^[\x21-\x7e]*$/.test(value)) {
            problem.textContent = "Keys are ASCII, without spaces.";
            return;
          }
          given = value;
          dialog.close();
        },
      },
      h("h2", { id: "key-title" }, "API key"),
      h("p", { class: "hint" }, "Kept in this tab until it is closed. A manage key may train and promote; a predict key may ask."),
      h("label", { for: "key-input" }, "Key"),
      input,
      problem,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "submit" }, "Use this key"),
        h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "key-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
