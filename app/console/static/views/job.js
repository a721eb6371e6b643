// Trainings and tests of versions, under way and done.

import { api, path } from "../api.js";
import { fill, h, pause } from "../dom.js";
import { date, isNumber, isObject, list, percent, short } from "../format.js";
import { badge, empty, notice, number, section, table, wide } from "../parts.js";

const POLL_MS = 500;
const SHOWN = 8;
const STAGES = {
  queued: "Waiting for its turn",
  encoding: "Encoding the texts that are not cached",
  fitting: "Fitting and testing the head",
  evaluating: "Testing",
  saving: "Storing the version",
  done: "Done",
};

const isTest = (job) => job.kind === "evaluation";

/** A job, followed until it ends; `ended` is called then. */
export function jobView(job, signal, ended) {
  const result = h("div", {});
  const shown = followJob(job, signal, (now) => {
    fill(result, now.status === "succeeded" ? done(now) : failed(now));
    result.scrollIntoView?.({ block: "nearest" });
    ended();
  });
  return section(isTest(job) ? `A test of ${job.task}` : `Training ${job.task}`, shown, result);
}

/** How far a job is, until it ends; `ended` is called with it then. */
export function followJob(job, signal, ended) {
  const bar = h("progress", { max: 1, value: job.progress, "aria-label": "Progress" });
  const stage = h("p", { class: "hint", role: "status" }, STAGES[job.stage]);
  follow(job, { bar, stage }, signal, ended);
  return h("div", { class: "stack close" }, bar, stage);
}

async function follow(job, parts, signal, ended) {
  let now = job;
  while (!signal.aborted) {
    parts.bar.value = now.progress;
    parts.stage.textContent = `${STAGES[now.stage] ?? now.stage}${now.status === "running" ? ` · ${percent(now.progress, 0)}` : ""}`;
    if (now.status === "succeeded" || now.status === "failed") break;
    await pause(POLL_MS, signal);
    try {
      now = await api(path`/v1/jobs/${job.id}`, { signal });
    } catch (error) {
      if (error.name === "AbortError") return;
      // A service that restarts is asked again; it says itself if the job died with it.
      parts.stage.textContent = error.message;
      if (error.status === 404 || error.status === 401 || error.status === 403) return;
      await pause(2_000, signal);
    }
  }
  if (!signal.aborted) ended(now);
}

function done(job) {
  const report = isObject(job.report) ? job.report : {};
  const interval = list(report.accuracy_interval).filter(isNumber);
  const score = isNumber(report.accuracy)
    ? `Accuracy ${percent(report.accuracy)}${interval.length === 2 ? ` (${percent(interval[0])} to ${percent(interval[1])})` : ""} on ${report.n_test} rows; always the most frequent answer: ${percent(report.majority_accuracy)}.`
    : `Mean absolute error ${short(report.mae)} on ${report.n_test} rows; always the mean: ${short(report.baseline_mae)}.`;
  return notice(
    "good",
    h("h3", {}, `Version ${job.version} of ${job.task} is ${isTest(job) ? "tested" : "there"}`),
    h("p", {}, report.n_test ? score : "No row could be tested."),
    list(report.warnings).length > 0 && h("ul", {}, list(report.warnings).slice(0, 5).map((one) => h("li", {}, String(one)))),
    h("div", { class: "actions" }, h("a", { class: "button", href: link(job) }, isTest(job) ? "See the version" : "See its report"), h("a", { class: "button quiet", href: "#/try" }, "Try it")),
  );
}

const failed = (job) => notice("error", h("h3", {}, `The ${isTest(job) ? "test" : "training"} failed`), h("p", { role: "alert" }, job.error?.message ?? "No reason is known."));

const link = (job) => `#/tasks/${encodeURIComponent(job.task)}/${job.version}`;

/** The newest jobs; those under way can be followed. */
export function jobsPanel(signal, open) {
  const holder = h("div", {}, h("p", { class: "hint" }, "Loading…"));
  load(holder, signal, open);
  return section("Trainings and tests", holder);
}

async function load(holder, signal, open) {
  let jobs;
  try {
    jobs = list((await api("/v1/jobs", { signal })).data);
  } catch (error) {
    if (error.name !== "AbortError") fill(holder, h("p", { class: "hint" }, error.message));
    return;
  }
  if (!jobs.length) {
    fill(holder, empty("Nothing trained or tested yet"));
    return;
  }
  fill(
    holder,
    table(
      "Trainings and tests",
      ["Task", "Status", wide("Started"), number("Accuracy")],
      jobs.slice(0, SHOWN).map((job) =>
        h(
          "tr",
          {},
          h("td", { class: "main" }, h("a", { href: job.version ? link(job) : `#/tasks/${encodeURIComponent(job.task)}` }, job.task), h("span", { class: "hint below" }, what(job))),
          h("td", {}, status(job, open)),
          h("td", { class: "nowrap wide-only" }, date(job.created_at)),
          h("td", { class: "number" }, percent(job.report?.accuracy)),
        ),
      ),
    ),
  );
}

function what(job) {
  if (!job.version) return isTest(job) ? "test" : "training";
  return `version ${job.version} ${isTest(job) ? "tested" : "trained"}`;
}

function status(job, open) {
  if (job.status === "succeeded") return badge("done", "good");
  if (job.status === "failed") return [badge("failed", "bad"), h("span", { class: "hint below" }, job.error?.message ?? "")];
  return h("button", { type: "button", class: "link", onclick: () => open(job) }, `${job.status}, follow`);
}
