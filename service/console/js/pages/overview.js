// Ten seconds: is it on course, if not what happened, what does the service do about it, and what can I do.

import { get, path } from "../api.js";
import { stackedBars } from "../charts.js";
import { h } from "../dom.js";
import { count, milliseconds, percent, plural, readable, when } from "../format.js";
import { latency } from "../latency.js";
import { badge, card, empty, linkButton, metric, notice, pageHead, progress, table } from "../parts.js";
import { may } from "../session.js";
import { trialNotice } from "../trial.js";
import { eventOf, jobOf, kindOf, severityOf, stageOf, stateOf, toneOf, waitingFor } from "../words.js";

const LATELY_S = 300;

export const overview = {
  name: "overview",
  title: "Overview",
  role: "read",

  async load({ model, models }) {
    const [drift, traffic, reports, times, operated] = await Promise.all([
      get(path`/v1/drift/${model}`),
      get(path`/v1/traffic/${model}`, { minutes: 60 }),
      get(path`/v1/drift/${model}/reports`, { limit: 1 }),
      latency(),
      may("operate") ? operators(model) : null,
    ]);
    return { drift, traffic, report: reports.reports[0] ?? null, times, operated, served: models.find((each) => each.name === model) };
  },

  view(data) {
    return [
      pageHead("Overview", null),
      state(data),
      h("div", { class: "metrics" }, numbers(data)),
      card("Traffic by version", trafficChart(data.traffic), { note: trafficNote(data.traffic) }),
      data.operated && h("div", { class: "columns" }, replicas(data.operated.replicas), lately(data.operated.events)),
    ];
  },
};

async function operators(model) {
  const [{ jobs }, { replicas }, { events }, { trial }] = await Promise.all([
    get("/admin/v1/jobs", { model, limit: 1 }),
    get("/admin/v1/replicas"),
    get("/admin/v1/events", { order: "newest", limit: 6, model }),
    get(path`/admin/v1/models/${model}/versions`),
  ]);
  return { job: jobs[0] ?? null, replicas, events, trial };
}

function state({ drift, report, operated }) {
  const [tone, name] = stateOf(drift.state);
  const [kind, meaning] = drift.kind ? kindOf(drift.kind) : [null, null];
  const job = operated?.job && !operated.job.finished_at ? operated.job : null;
  return h("section", { class: `state ${tone}`, "aria-label": "State" },
    h("div", { class: "state-head" }, badge(tone, name), h("span", { class: "state-since" }, drift.since ? when(drift.since, "for") : null)),
    h("p", { class: "state-says" }, kind ? `${kind}${drift.severity ? `, ${severityOf(drift.severity)}` : ""}. ${meaning}` : readable(drift.detail)),
    kind && !job && drift.detail !== meaning ? h("p", {}, readable(drift.detail)) : null,
    job && job.status !== "on_trial" ? underWay(job) : null,
    trialNotice(operated?.trial),
    h("div", { class: "actions" }, nextSteps(drift, report, job)));
}

function underWay(job) {
  const [tone, name] = jobOf(job.status);
  const step = job.progress ? `${stageOf(job.progress.stage)}${job.progress.of ? `, ${job.progress.step} of ${job.progress.of}` : ""}` : waitingFor(job);
  const share = job.progress?.of ? job.progress.step / job.progress.of : 0;
  return notice(tone, h("div", { class: "under-way" }, h("strong", {}, `Adaptation: ${name.toLowerCase()}. `), step, job.progress ? progress(share, "Progress of the job") : null));
}

function nextSteps(drift, report, job) {
  const steps = [];
  if (report?.kind) steps.push(linkButton("What drifted", "#/drift", "primary"));
  if (job?.status === "waiting_for_labels" && may("feedback")) steps.push(linkButton("Give labels", "#/labels", "primary"));
  if (job) steps.push(linkButton("The adaptation", `#/adaptations?job=${job.id}`));
  if (!report && drift.state === "collecting") steps.push(linkButton("What the monitor waits for", "#/drift"));
  return steps;
}

function numbers({ drift, traffic, report, times, served }) {
  return [
    metric("Version in use", served ? `${served.champion}` : "–", served ? [`generation ${served.generation}`, served.previous ? `, previous ${served.previous}` : ""].join("") : "nothing is served"),
    metric("Traffic", perMinute(traffic), `a minute, last ${LATELY_S / 60} min`),
    metric("Answer time", times ? milliseconds(times.p50) : "–", times ? `median; 95 % below ${milliseconds(times.p95)}${times.recent ? "" : ", since the start"}` : "no prediction yet"),
    accuracy(report),
    metric("Events seen", count(drift.events_seen), `${plural(drift.alarms_total, "alarm")} so far`),
  ];
}

function perMinute({ steps, rate }) {
  const from = Date.now() / 1000 - LATELY_S;
  const n = steps.filter((step) => step.at >= from).reduce((sum, step) => sum + step.n, 0);
  return rate > 0 ? count(Math.round(n / rate / (LATELY_S / 60))) : "–";
}

function accuracy(report) {
  const { labelled, harm } = report ?? {};
  if (labelled) return metric("Accuracy", percent(labelled.accuracy, 1), `by ${count(labelled.n)} labels; ${percent(labelled.reference_accuracy, 1)} promised`);
  if (harm) return metric("Accuracy, estimated", percent(harm.estimated_accuracy, 1), `without labels; ${percent(harm.reference_accuracy, 1)} promised`);
  return metric("Accuracy", "–", "needs labels");
}

function trafficChart(traffic) {
  if (!traffic.steps.length) {
    return empty("No traffic in the last hour", "Predictions show up here within seconds.",
      h("code", {}, "curl -d '{\"inputs\": \"What a film!\"}' -H 'Content-Type: application/json' …/v1/predict"));
  }
  const versions = [...new Set(traffic.steps.map((step) => step.version))].sort((a, b) => a - b);
  const times = steps(traffic);
  const counted = new Map(traffic.steps.map((step) => [`${step.version} ${Math.round(step.at)}`, step.n]));
  const values = versions.map((version) => times.map((at) => counted.get(`${version} ${at}`) ?? 0));
  return stackedBars({ title: "Predictions by version over the last hour", data: [times, ...values], names: versions.map((n) => `Version ${n}`), format: (n) => count(Math.round(n)) });
}

/** All 60 steps, also those without traffic. */
function steps({ width_s: width }) {
  const last = Math.floor(Date.now() / 1000 / width) * width;
  return Array.from({ length: 60 }, (_, i) => Math.round(last - (59 - i) * width));
}

const trafficNote = ({ rate, width_s: width }) =>
  `Predictions in steps of ${Math.round(width)} s, all replicas${rate < 1 ? `, a sample of ${percent(rate)}` : ""}.`;

function replicas(found) {
  if (!found.length) return card("Replicas", empty("No replica reported", "Start one with trimtab serve."));
  const rows = found.map((each) => [each.replica, servedBy(each), when(each.reported_at), refusals(each)]);
  return card("Replicas", table("Replicas", ["Replica", "Serves", "Reported", "Refused"], rows));
}

const servedBy = ({ serving }) => Object.entries(serving).map(([model, what]) => h("div", {}, `${model}: ${versionsIn(what)}`));

/** What a replica says of a model: its champion and the versions that are loaded. */
function versionsIn(what) {
  const loaded = Object.keys(what.versions ?? {});
  return `version ${what.champion ?? "–"}${loaded.length > 1 ? ` (${loaded.join(", ")} loaded)` : ""}`;
}

const refusals = ({ refused }) =>
  Object.keys(refused).length ? Object.entries(refused).map(([what, why]) => h("div", { class: "bad-text" }, `${what}: ${typeof why === "string" ? why : JSON.stringify(why)}`)) : "nothing";

function lately(events) {
  const list = h("ol", { class: "timeline small" }, events.map((event) =>
    h("li", { class: `event ${toneOf(event)}` }, h("div", { class: "event-head" }, h("span", {}, eventOf(event)), h("span", { class: "event-when" }, when(event.at))))));
  const more = h("a", { href: "#/events" }, "All events");
  return card("Lately", events.length ? list : empty("Nothing happened yet", "Promotions, jobs and drift will stand here."), { aside: more });
}
