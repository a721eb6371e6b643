// Pieces that several views use.

import { changeKey, hasKey } from "./api.js";
import { h } from "./dom.js";

/** What went wrong, in the service's own words. */
export function problem(error, retry) {
  const another = error.status === 403 || (error.status === 401 && !hasKey());
  return h(
    "div",
    { class: "notice error", role: "alert" },
    h("p", {}, error.message),
    h(
      "div",
      { class: "actions" },
      another && h("button", { type: "button", class: "quiet", onclick: async () => (await changeKey("")) && retry?.() }, "Use another key"),
      retry && h("button", { type: "button", class: "quiet", onclick: retry }, "Try again"),
    ),
  );
}

export const notice = (kind, ...children) => h("div", { class: `notice ${kind}` }, children);

export const empty = (title, ...children) =>
  h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), children);

/** A figure with its name: the name first for those who listen, below it for those who look. */
export function tile(name, value, note, kind = "") {
  return h(
    "div",
    { class: `tile ${kind}` },
    h("dt", {}, name),
    h("dd", { class: "value" }, value),
    note && h("dd", { class: "note" }, note),
  );
}

export const tiles = (...children) => h("dl", { class: "tiles" }, children);

export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);

/** A label: a long one may break after an underscore. */
export const breakable = (text) => String(text).split("_").map((part, place) => (place ? ["_", h("wbr"), part] : part));

/** A bar for a share; the number beside it says the same. */
export function meter(share, kind = "") {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h("span", { class: `meter ${kind}`, "aria-hidden": "true" }, h("span", { style: { width } }));
}

/** A table that scrolls by itself on a narrow screen, by keyboard too. */
export function table(caption, heads, rows, kind = "") {
  const holder = h(
    "div",
    { class: `scroll ${kind}`, role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => heading(head)))),
      h("tbody", {}, rows),
    ),
  );
  // A stop for the Tab key only where there is something to scroll.
  new ResizeObserver(() => {
    if (holder.scrollWidth > holder.clientWidth) holder.setAttribute("tabindex", "0");
    else holder.removeAttribute("tabindex");
  }).observe(holder);
  return holder;
}

function heading(head) {
  const { text, kind } = typeof head === "string" ? { text: head, kind: "" } : head;
  return h("th", { scope: "col", class: kind }, text);
}

export const number = (text) => ({ text, kind: "number" });

/** The head of a column that a phone leaves out. */
export const wide = (text, kind = "") => ({ text, kind: `${kind} wide-only` });

/** A message that goes away, with at most one thing to do about it. */
export function toast(text, action, run) {
  const holder = document.getElementById("toasts");
  const one = h(
    "div",
    { class: "toast" },
    h("span", {}, text),
    action && h("button", { type: "button", class: "quiet", onclick: () => (one.remove(), run()) }, action),
    h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => one.remove() }, "✕"),
  );
  holder.replaceChildren(one);
  setTimeout(() => one.remove(), 15_000);
}

/** A question with two answers; true for the first. `more` is what else it asks. */
export function asked(title, text, yes, { kind = "", more = null } = {}) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = h(
      "dialog",
      { "aria-labelledby": "confirm-title" },
      h("h2", { id: "confirm-title" }, title),
      h("p", {}, text),
      more,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: kind, onclick: () => ((answer = true), dialog.close()) }, yes),
        h("button", { type: "button", class: "quiet", autofocus: true, onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function section(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}
