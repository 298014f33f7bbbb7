// What drifted, whether it hurts, what the service did and why.

import { get, path, send } from "../api.js";
import { lines } from "../charts.js";
import { confirm } from "../dialog.js";
import { h, toast } from "../dom.js";
import { count, figure, readable, when } from "../format.js";
import { badge, button, card, empty, needs, notice, pageHead, table } from "../parts.js";
import { may } from "../session.js";
import { armOf, jobOf, kindOf, severityOf, stateOf } from "../words.js";
import { evidenceCards } from "./evidence.js";

const CHECKS = 200;
const LISTED = 8;
const MOST_SHOWN = 12;

export const drift = {
  name: "drift",
  title: "Drift",
  role: "read",

  async load({ model, params }) {
    const [status, { reports }] = await Promise.all([
      get(path`/v1/drift/${model}`),
      get(path`/v1/drift/${model}/reports`, { limit: CHECKS }),
    ]);
    const chosen = params.get("report") ?? (reports.find((report) => report.kind) ?? reports[0])?.id;
    const report = chosen ? await get(path`/v1/drift/${model}/reports/${chosen}`) : null;
    const jobId = report ? jobOfEpisode(report, reports) : null;
    const job = jobId && may("operate") ? await get(path`/admin/v1/jobs/${jobId}`) : null;
    return { status, reports, report, jobId, job, pinned: Boolean(params.get("report")) };
  },

  view(data, context) {
    const { status, reports, report } = data;
    const head = pageHead("Drift", readable(status.detail), may("operate") ? actions(status, context) : []);
    if (!reports.length) return [head, standing(status), noCheck(status)];
    return [
      head,
      standing(status),
      card("Statistic over threshold", ratios(reports), { note: "Above 1 is an alarm: thresholds are calibrated to the false-alarm budget." }),
      story(data),
      evidenceCards(report),
      card("Checks", checks(reports, report)),
      may("operate") ? null : needs("operate", "Accepting a drift or opening an adaptation"),
    ];
  },
};

function standing(status) {
  const [tone, name] = stateOf(status.state);
  return h("div", { class: "standing" }, badge(tone, name), h("span", {}, when(status.since, "for")),
    status.reference.version ? h("span", {}, `compared with version ${status.reference.version}: ${status.reference.domains.join(", ") || "no domain"}`) : null,
    h("span", {}, `${count(status.events_seen)} events seen`));
}

function noCheck(status) {
  return empty("No check yet", "The monitor looks as soon as a window of the serving version's traffic is full. Send traffic, and see that trimtab monitor runs.",
    h("p", {}, `${count(status.events_seen)} events were seen so far.`));
}

function ratios(reports) {
  const ordered = reports.toReversed();
  const names = [...new Set(ordered.flatMap((report) => report.arms.map((arm) => arm.name)))];
  const times = increasing(ordered.map((report) => report.created_at));
  const values = names.map((name) => ordered.map((report) => ratioOf(report, name)));
  return lines({
    title: "Statistic over threshold by check", data: [times, ...values], names: names.map(armOf), limit: 1, limitName: "Alarm",
    marks: swaps(ordered, times), format: (value) => value.toFixed(2),
  });
}

/** uPlot wants times that grow. */
const increasing = (times) => times.map((at, i) => at + i * 1e-6);

function ratioOf(report, name) {
  const arm = report.arms.find((each) => each.name === name);
  return arm && arm.threshold ? Math.min(arm.statistic / arm.threshold, MOST_SHOWN) : null;
}

function swaps(ordered, times) {
  return ordered.flatMap((report, i) => (i && report.version !== ordered[i - 1].version ? [{ at: times[i], text: `version ${report.version}` }] : []));
}

/** The chosen check in words: what happened, whether it hurts, what was done. */
function story({ report, jobId, job, pinned }) {
  const title = pinned ? "This check" : report.kind ? "The newest drift" : "The newest check";
  if (!report.kind) {
    return card(title, [h("p", {}, readable(report.explanation) || "Nothing stands out: the window looks like what is known."), checked(report)]);
  }
  const [kind, meaning] = kindOf(report.kind);
  const head = h("div", { class: "story-head" }, badge(report.harmful ? "bad" : "warn", kind), badge("plain", `Severity: ${severityOf(report.severity)}`),
    badge(report.harmful ? "bad" : "plain", report.harmful ? "It hurts" : "No harm shown"));
  return card(title, [head, h("p", { class: "story-says" }, readable(report.explanation) || meaning), done(report, jobId, job), checked(report)]);
}

/** The job that this check opened, or found under way. */
function jobOfEpisode(report, reports) {
  if (report.job_id || report.state !== "adapting") return report.job_id ?? null;
  const opener = reports.find((each) => each.job_id && each.created_at <= report.created_at);
  return opener?.job_id ?? null;
}

function done(report, jobId, job) {
  if (!jobId) return notice("plain", h("span", {}, h("strong", {}, "What was done: "), "no adaptation was opened by this check."));
  const stands = job ? `, and stands at “${jobOf(job.status)[1].toLowerCase()}”` : "";
  const what = report.job_id ? `an adaptation was opened${stands}.` : `an adaptation was under way already${stands}.`;
  return notice("info", h("span", {}, h("strong", {}, "What was done: "), what), h("a", { href: `#/adaptations?job=${jobId}` }, "See the adaptation"));
}

const checked = (report) => h("p", { class: "note" }, "Checked ", when(report.created_at),
  ` over ${count(report.n_window)} events of version ${report.version}; nearest known: ${report.nearest}; largest KS distance ${figure(report.max_ks)}.`);

function checks(reports, chosen) {
  const rows = reports.slice(0, LISTED).map((report) => [
    h("a", { href: `#/drift?report=${report.id}`, "aria-current": report.id === chosen?.id ? "true" : null }, when(report.created_at)),
    badge(...stateOf(report.state)), figure(largest(report)), figure(report.max_ks), report.kind ? kindOf(report.kind)[0] : "none", `${report.version}`,
    report.job_id ? h("a", { href: `#/adaptations?job=${report.job_id}` }, "job") : "–",
  ]);
  return table("Checks, newest first", ["When", "State", ["Ratio", "number"], ["Max KS", "number"], "Kind", ["Version", "number"], "Job"], rows);
}

const largest = (report) => Math.max(0, ...report.arms.map((arm) => arm.statistic / arm.threshold));

function actions(status, context) {
  const accept = button("Accept this drift", () => acknowledge(status, context), { id: "acknowledge" });
  const adapt = button("Adapt now", () => openJob(context), { kind: "primary", id: "adapt" });
  const drifting = ["drifting", "cooldown", "needs_human", "adapting", "suspect"].includes(status.state);
  return [drifting ? accept : null, status.state === "adapting" ? null : adapt].filter(Boolean);
}

async function acknowledge(status, { model, refresh }) {
  const agreed = await confirm({
    title: "Accept this drift?", action: "Accept",
    consequences: ["The monitor is quiet until the drift grows by a quarter or proves harmful.", "Nothing is learnt from it and the reference stays.", status.state === "adapting" ? "The open adaptation goes on." : null],
  });
  if (agreed) await attempt(() => send("POST", path`/admin/v1/models/${model}/drift/acknowledge`), "Accepted", refresh);
}

async function openJob({ model, refresh, go }) {
  const agreed = await confirm({
    title: "Adapt now?", action: "Open the adaptation",
    consequences: [
      "A job is opened on the newest window, whatever the policy's cooldown says.",
      "Where labels are missing it waits for them, and says how many.",
      "What it makes is promoted only if the gate lets it; the version in use serves on meanwhile.",
    ],
  });
  if (!agreed) return;
  await attempt(async () => {
    const job = await send("POST", path`/admin/v1/models/${model}/adapt`, { reason: agreed.reason });
    go("adaptations", { job: job.id });
  }, "Adaptation opened", refresh);
}

async function attempt(act, said, refresh) {
  try {
    await act();
    toast(said, "good");
  } catch (problem) {
    toast(problem.message, "bad");
  }
  await refresh();
}
