// Which view is shown: the part of the address after `#`.

import { api, changeKey, hasKey } from "./api.js";
import { fill, h } from "./dom.js";
import { problem } from "./parts.js";
import { costView } from "./views/cost.js";
import { liveView } from "./views/live.js";
import { taskView } from "./views/task.js";
import { tasksView } from "./views/tasks.js";
import { trainView } from "./views/train.js";
import { tryView } from "./views/try.js";

// A view is an async function of an element to fill, the address's parts, and a signal that ends it.
const VIEWS = { try: tryView, tasks: tasksView, train: trainView, live: liveView, cost: costView };
const TITLES = { try: "Try", tasks: "Tasks", train: "Train", live: "Live", cost: "Cost" };

const main = document.getElementById("main");
let leave = new AbortController();

async function show(first = false) {
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decode);
  if (location.hash === "#main") return main.focus();
  const name = parts[0] in VIEWS ? parts[0] : "try";
  const view = name === "tasks" && parts[1] ? taskView : VIEWS[name];
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${parts[1] && name === "tasks" ? parts[1] : TITLES[name]} – Polyhead`;
  // A holder of its own: a view that was left cannot write into its successor's.
  const holder = document.createElement("div");
  holder.className = `view ${name}`;
  main.replaceChildren(holder);
  if (!first) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  try {
    await view(holder, parts.slice(1), signal);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    if (error.status === undefined) console.error(error);
    fill(holder, h("h1", {}, TITLES[name]), problem(error, () => show()));
  }
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function showStatus() {
  const status = document.getElementById("status");
  try {
    const response = await fetch("/ready", { cache: "no-store" });
    const ready = await response.json();
    const down = ["encoder", "cache"].filter((part) => ready[part] !== "up");
    status.className = `status ${ready.ready ? (down.length ? "warn" : "good") : "bad"}`;
    status.textContent = ready.ready ? (down.length ? `${down.join(" and ")} down` : "ready") : "not ready";
  } catch {
    status.className = "status bad";
    status.textContent = "no answer";
  }
}

async function showVersion() {
  const info = await api("/info");
  document.getElementById("version").textContent =
    `Polyhead ${info.version} · ${info.encoder.name} · ${info.encoder.bits} bits · ${info.encoder.profile}`;
}

const keyButton = document.getElementById("key");
keyButton.addEventListener("click", async () => (await changeKey("")) && show());
// Requests that asked for the key go on by themselves: what was filled in stays.
document.addEventListener("keychange", () => (keyButton.hidden = !hasKey()));
keyButton.hidden = !hasKey();
addEventListener("hashchange", () => show());
show(true);
showVersion().catch(() => {}); // the view says what is wrong
showStatus();
setInterval(() => document.hidden || showStatus(), 10_000);
