// A version on trial: how far it is, what was seen of it, and what it takes to pass.

import { h } from "./dom.js";
import { count, figure, isNumber, percent, when } from "./format.js";
import { badge, card, facts, notice, progress } from "./parts.js";
import { trialOf } from "./words.js";

/** Who sees its answers, in a few words. */
export const audienceOf = ({ stage, share }) => (stage === "canary" ? `answers ${percent(share)} of the clients` : stage === "shadow" ? "answers unseen" : trialOf(stage)[1].toLowerCase());

/** A remark for pages that are about something else. */
export function trialNotice(trial) {
  if (!trial) return null;
  return notice("info", h("div", { class: "under-way" },
    h("strong", {}, `Version ${trial.version} is on trial. `), `It ${audienceOf(trial)}, against version ${trial.champion}. `,
    h("a", { href: `#/versions?version=${trial.version}` }, "How it stands"), far(trial)));
}

/** All there is to say of a trial, of one that goes on and of one that is over. */
export function trialCard(trial) {
  if (!trial) return null;
  return card("Trial on real traffic", [
    h("p", {}, trial.meaning),
    trial.reason ? h("p", { class: "note" }, trial.reason) : null,
    trial.ended_at ? null : far(trial),
    facts(pairs(trial)),
  ], { aside: badge(...trialOf(trial.stage)), note: `Held against version ${trial.champion}.` });
}

function far({ evidence: { n, of } }) {
  return of ? progress(n / of, "Answers of this stage") : null;
}

function pairs({ evidence: seen, ...trial }) {
  return [
    ["Share of the clients", trial.share ? percent(trial.share) : null],
    ["Began", when(trial.started_at)],
    ["This stage", trial.ended_at ? null : when(trial.stage_at, "for")],
    ["Ended", trial.ended_at ? when(trial.ended_at) : null],
    ["Answers", isNumber(seen.n) ? `${count(seen.n)} of ${count(seen.of)}` : null],
    ["Other answers than the champion", limited(seen.disagreement, seen.explained_disagreement)],
    ["Labelled, only it was right", isNumber(seen.gained) ? `${count(seen.gained)} of ${count(seen.gained + seen.lost)} on which one was` : null],
    ["Class shares away from its own", isNumber(seen.shares_away) ? percent(seen.shares_away, 1) : null],
    ["Labels", isNumber(seen.n_labels) ? count(seen.n_labels) : null],
    ["Accuracy", isNumber(seen.accuracy) ? `${percent(seen.accuracy, 1)}; the champion ${percent(seen.champion_accuracy, 1)}` : null],
    ["Evidence that it is worse", isNumber(seen.statistic) ? `${figure(seen.statistic)}; it is stopped at ${figure(seen.threshold)}` : null],
    ["Not loaded", seen.not_loaded],
  ];
}

const limited = (share, most) => (isNumber(share) ? `${percent(share, 1)}; ${percent(most, 1)} are explained` : null);
