// Jobs: what is done now, what was decided and why, what the gate said.

import { get, path, send } from "../api.js";
import { confirm } from "../dialog.js";
import { h, toast } from "../dom.js";
import { count, duration, isNumber, percent, points, when } from "../format.js";
import { gateTable } from "../gate.js";
import { forgettingOf, heatMap } from "../matrix.js";
import { badge, button, card, empty, facts, linkButton, notice, pageHead, progress, raw, table } from "../parts.js";
import { may } from "../session.js";
import { trialNotice } from "../trial.js";
import { causeOf, jobOf, partOf, remedyOf, sentence, stageOf, waitingFor } from "../words.js";

const LISTED = 20;

export const adaptations = {
  name: "adaptations",
  title: "Adaptations",
  role: "operate",

  async load({ model, params }) {
    const [{ jobs }, versions] = await Promise.all([
      get("/admin/v1/jobs", { model, limit: LISTED }),
      get(path`/admin/v1/models/${model}/versions`),
    ]);
    const chosen = params.get("job") ?? jobs[0]?.id;
    return { jobs, versions, job: chosen ? await get(path`/admin/v1/jobs/${chosen}`) : null };
  },

  view({ jobs, versions, job }, context) {
    const head = pageHead("Adaptations", "What was learnt, what was refused, and why.");
    const matrix = card("Accuracy by version and domain", heatMap(versions.versions, versions.aliases.champion), { note: "Measured by the gates, on labels that nothing was trained or chosen on." });
    if (!job) return [head, empty("No adaptation yet", "The monitor opens one when a drift is worth acting on. You can open one by hand.", linkButton("To the drift page", "#/drift", "primary")), matrix];
    return [head, listOf(jobs, job), chosenJob(job, versions, context), matrix];
  },
};

function listOf(jobs, chosen) {
  const rows = jobs.map((job) => [
    h("a", { href: `#/adaptations?job=${job.id}`, "aria-current": job.id === chosen.id ? "true" : null }, when(job.created_at)),
    badge(...jobOf(job.status)), job.domain || "–", causeOf(job.cause), job.version ? `version ${job.version}` : "–",
  ]);
  return card("Jobs", table("Jobs, newest first", ["Opened", "Status", "Domain", "Why", "Made"], rows));
}

function chosenJob(job, versions, context) {
  return [
    card(`Job ${job.id.slice(0, 8)}`, [steps(job), now(job), trialOf(job, versions), outcome(job), about(job)], { aside: may("operate") && !job.finished_at ? cancelButton(job, context) : null }),
    h("div", { class: "columns" }, planCard(job.plan), missingCard(job)),
    rivalsCard(job),
    job.verdict || job.gate ? card("The gate", gateTable((job.verdict ?? job.gate).checks), { aside: verdictBadge(job.verdict ?? job.gate) }) : null,
    card("Everything, raw", raw(`job-${job.id}`, "The job as the service keeps it", job)),
  ];
}

const STEPS = [["opened", "Opened"], ["labels", "Labels"], ["running", "Candidate"], ["gate", "Gate"], ["end", "Outcome"]];

function steps(job) {
  const reached = reachedOf(job);
  const [tone] = jobOf(job.status);
  return h("ol", { class: "steps", "aria-label": "Steps of the job" }, STEPS.map(([, title], i) => {
    const state = i < reached || (job.finished_at && i === reached) ? "done" : i === reached ? "now" : "ahead";
    const last = (job.finished_at || job.status === "on_trial") && i === STEPS.length - 1;
    return h("li", { class: `step ${state} ${last ? tone : ""}`, "aria-current": state === "now" ? "step" : null }, last ? jobOf(job.status)[1] : title);
  }));
}

function reachedOf(job) {
  if (job.finished_at || job.status === "on_trial") return STEPS.length - 1;
  if (job.status === "running") return ["gate", "publishing"].includes(job.progress?.stage) ? 3 : 2;
  return job.status === "waiting_for_labels" ? 1 : 0;
}

function now(job) {
  if (job.finished_at) return null;
  if (job.status !== "running" || !job.progress) return notice(jobOf(job.status)[0], waitingFor(job));
  const { stage, step, of, eta_s: eta } = job.progress;
  return h("div", { class: "running" },
    h("div", { class: "running-head" }, h("strong", {}, stageOf(stage)), h("span", {}, of ? `${count(step)} of ${count(of)}` : ""), h("span", { class: "note" }, eta ? `about ${duration(eta)} left` : "")),
    progress(of ? step / of : 0, stageOf(stage)));
}

const trialOf = (job, { trial }) => (trial?.job_id === job.id ? trialNotice(trial) : null);

function outcome(job) {
  if (!job.finished_at) return null;
  const [tone, title] = jobOf(job.status);
  return notice(tone, h("div", {}, h("strong", {}, `${title}. `), job.reason || job.meaning));
}

function about(job) {
  return facts([
    ["Why", causeOf(job.cause)],
    ["Domain", job.domain],
    ["Opened", when(job.created_at)],
    ["Took", job.started_at && job.finished_at ? duration(job.finished_at - job.started_at) : null],
    ["Attempts", job.attempts > 1 ? count(job.attempts) : null],
    ["Made", job.version ? h("a", { href: `#/versions?version=${job.version}` }, `version ${job.version}`) : null],
    ["Forgetting", forgettingOf(job.verdict ?? job.gate)],
  ]);
}

function planCard(plan) {
  if (!plan) return card("Plan", empty("No plan yet", "It is made when a worker reads the window and counts the labels."));
  const title = plan.method ? plan.method.split(" | ").map(remedyOf).join(", ") : "";
  return card("Plan", [h("p", {}, h("strong", {}, title), plan.situation ? ` (situation ${plan.situation})` : ""), h("ul", { class: "reasons" }, (plan.reasons ?? []).map((reason) => h("li", {}, reason)))]);
}

function missingCard(job) {
  const missing = Object.entries(job.missing ?? {}).filter(([, n]) => n > 0);
  if (job.status !== "waiting_for_labels" || !missing.length) return null;
  const rows = missing.map(([part, n]) => [partOf(part), count(n)]);
  return card("Labels that are missing", [
    table("Missing labels", ["For", ["Missing", "number"]], rows),
    h("p", { class: "note" }, job.deadline_at ? ["It waits until ", new Date(1000 * job.deadline_at).toLocaleString(), ", then goes on with what there is."] : "It waits without a deadline."),
    linkButton("Give labels", "#/labels", "primary"),
  ]);
}

/** Who was tried and who was not, as the contest or at least the plan says. */
function rivalsCard({ plan, verdict, gate }) {
  const contest = verdict?.selection ?? gate?.selection ?? plan?.selection ?? null;
  if (contest?.rivals?.length) return card("Rivals", contestTable(contest.rivals), { note: contest.reason });
  if (!plan?.rivals?.length) return null;
  const rows = [...plan.rivals.map((rival) => [remedyOf(rival.name), badge("info", "Tried"), rival.reason]),
    ...(plan.left_out ?? []).map((rival) => [remedyOf(rival.name), badge("plain", "Left out"), rival.reason])];
  return card("Rivals", table("Remedies, cheapest first", ["Remedy", "State", "Why"], rows));
}

const ENTRIES = { champion: ["info", "In use"], chosen: ["good", "Chosen"], beaten: ["plain", "Beaten"], forgets: ["bad", "Forgets"], declined: ["plain", "Declined"] };

function contestTable(rivals) {
  const rows = rivals.map((rival) => [
    h("div", { class: "check" }, h("strong", {}, remedyOf(rival.name)), rival.reason && h("div", { class: "note" }, rival.reason)),
    badge(...(ENTRIES[rival.state] ?? ["plain", sentence(rival.state ?? "")])),
    percent(rival.accuracy, 1), points(rival.gain), !isNumber(rival.gain_error) ? "–" : `± ${(100 * rival.gain_error).toFixed(1)}`, worstOf(rival.losses),
  ]);
  return table("Rivals on the selection labels", ["Remedy", "State", ["Accuracy", "number"], ["Gain", "number"], ["Error", "number"], ["Worst loss", "number"]], rows);
}

function worstOf(losses) {
  const found = Object.entries(losses ?? {}).toSorted(([, a], [, b]) => b - a)[0];
  return found ? `${points(-found[1])} ${found[0]}` : "–";
}

const VERDICTS = { promote: ["good", "Promote"], reject: ["bad", "Reject"], hold: ["warn", "Hold"] };
const verdictBadge = ({ verdict }) => (verdict ? badge(...(VERDICTS[verdict] ?? ["plain", sentence(verdict)])) : null);

function cancelButton(job, { refresh }) {
  return button("Cancel the job", async () => {
    const first = job.status === "on_trial" ? `The trial of version ${job.version} ends; the version is held.` : "The worker stops at its next step and publishes nothing.";
    const consequences = [first, "The version in use serves on.", "The monitor may open another job when its cooldown is over."];
    if (!(await confirm({ title: "Cancel this adaptation?", action: "Cancel the job", kind: "danger", consequences }))) return;
    try {
      await send("POST", path`/admin/v1/jobs/${job.id}/cancel`);
      toast("Cancelled", "good");
    } catch (problem) {
      toast(problem.message, "bad");
    }
    await refresh();
  }, { kind: "danger", id: "cancel-job" });
}
