// Where the version in use comes from, what else there is, and how to go there.

import { get, path } from "../api.js";
import { h } from "../dom.js";
import { count, duration, figure, moment, percent, short, when } from "../format.js";
import { gateTable } from "../gate.js";
import { lineage } from "../lineage.js";
import { forgettingOf } from "../matrix.js";
import { badge, card, code, empty, facts, notice, pageHead, raw, table } from "../parts.js";
import { trialCard, trialNotice } from "../trial.js";
import { causeOf, remedyOf, versionOf } from "../words.js";
import { modelActions, versionActions } from "./steer.js";

export const versions = {
  name: "versions",
  title: "Versions",
  role: "operate",

  async load({ model, params }) {
    const listed = await get(path`/admin/v1/models/${model}/versions`);
    const compared = compareIn(params).slice(0, 2);
    const chosen = Number(params.get("version")) || listed.aliases.champion || listed.versions.at(-1)?.version;
    const wanted = compared.length === 2 ? compared : [chosen].filter(Boolean);
    const whole = await Promise.all(wanted.map((n) => get(path`/admin/v1/models/${model}/versions/${n}`)));
    return { listed, chosen, compared, whole };
  },

  view({ listed, chosen, compared, whole }, context) {
    const head = pageHead("Versions", standing(listed), modelActions(listed, context));
    if (!listed.versions.length) return [head, empty("No version yet", "trimtab init makes the first one from labelled text.")];
    const graph = lineage(listed.versions, { chosen, compared, hrefOf: (n) => `#/versions?version=${n}`, onCompare: (n, ticked) => tick(n, ticked, context) });
    const hint = compared.length === 1 ? "Tick another version to compare the two." : "Tick two versions to compare them.";
    return [
      head,
      listed.aliases.pinned ? notice("warn", h("strong", {}, "This model is held. "), "What passes the gate ends held and is not promoted by itself.") : null,
      chosen === listed.trial?.version ? null : trialNotice(listed.trial),
      h("div", { class: "columns uneven" }, card("Lineage", graph, { note: hint }), whole.length === 2 ? comparison(...whole) : details(whole[0], listed, context)),
      whole.length === 1 ? trialCard(whole[0].trial) : null,
      whole.length === 1 && whole[0].gate?.checks?.length ? card(`What the gate said of version ${chosen}`, gateTable(whole[0].gate.checks)) : null,
    ];
  },
};

function standing({ aliases, generation }) {
  if (!aliases.champion) return "Nothing is served.";
  return `Version ${aliases.champion} is in use${aliases.previous ? `, version ${aliases.previous} is kept hot to step back to` : ""}. Generation ${generation}.`;
}

const compareIn = (params) => (params.get("compare") ?? "").split(",").map(Number).filter(Boolean);

/** By the address as it is now: two ticks may come before the page is drawn anew. */
function tick(version, ticked, { go }) {
  const compared = compareIn(new URLSearchParams(location.hash.split("?")[1]));
  const left = ticked ? [...compared, version].slice(-2) : compared.filter((each) => each !== version);
  go("versions", left.length ? { compare: left.join(",") } : {});
}

function details(whole, listed, context) {
  if (!whole) return null;
  const { manifest } = whole;
  return card(`Version ${whole.version}`, [
    h("div", { class: "story-head" }, badge(...versionOf(whole.state)), whole.aliases.map((alias) => h("span", { class: `tag ${alias}` }, alias))),
    whole.reason ? h("p", {}, whole.reason) : null,
    h("div", { class: "actions" }, versionActions(whole, listed, context)),
    facts(pairs(whole).map(([name, value]) => [name, value])),
    manifest ? raw(`manifest-${whole.version}`, "Manifest", manifest) : null,
  ]);
}

/** What is worth knowing of a version; the same names for every version, so that two can be compared. */
function pairs(whole) {
  const { manifest: m } = whole;
  return [
    ["Made", h("span", {}, moment(whole.created_at), " (", when(whole.created_at), ")")],
    ["Trained from", whole.parent ? `version ${whole.parent}` : "the base model"],
    ["Because", m?.trigger?.cause ? causeOf(m.trigger.cause) : m?.trigger?.kind],
    ["Method", methodOf(whole)],
    ["Domain", m?.data?.domain],
    ["Window", m?.data?.n_window ? `${count(m.data.n_window)} events` : null],
    ["Trained on", labelled(m?.data?.labelled?.train)],
    ["Judged on", labelled(m?.data?.labelled?.gate)],
    ["Replayed", m?.data?.n_memory !== undefined ? `${count(m.data.n_memory)} exemplars` : null],
    ["Training took", m?.training?.seconds ? duration(m.training.seconds) : null],
    ["Gain", gainOf(whole.gate)],
    ["Forgetting", forgettingOf(whole.gate)],
    ["Base", baseOf(m?.base)],
    ["Digest", whole.digest ? code(short(whole.digest)) : "no files yet"],
  ];
}

const methodOf = ({ gate, manifest }) => {
  const method = gate?.selection?.chosen ?? manifest?.plan?.method;
  return method ? method.split(" | ").map(remedyOf).join(", ") : null;
};

/** A directory's last part, or the name on a hub. */
const baseOf = (base) => (typeof base === "string" ? base.split("/").at(-1) : base?.name?.split("/").at(-1) ?? null);

function labelled(byLabel) {
  if (!byLabel || typeof byLabel !== "object") return null;
  const total = Object.values(byLabel).reduce((sum, n) => sum + n, 0);
  return total ? `${count(total)} labels (${Object.entries(byLabel).map(([label, n]) => `${n} ${label}`).join(", ")})` : null;
}

function gainOf(gate) {
  const check = (gate?.checks ?? []).find((each) => each.name.startsWith("gain:"));
  if (!check || check.value === null) return null;
  const ends = check.after === null || check.after === undefined ? "" : `, ${percent(check.before, 1)} to ${percent(check.after, 1)}`;
  return `${figure(check.value)} on ${check.name.slice(5)}${ends}`;
}

function comparison(first, second) {
  const [older, newer] = first.version < second.version ? [first, second] : [second, first];
  const left = pairs(older);
  const right = new Map(pairs(newer));
  const rows = left.filter(([name, value]) => value || right.get(name)).map(([name, value]) => [name, value || "–", right.get(name) || "–"]);
  return card(`Version ${older.version} and version ${newer.version}`, table("Two versions side by side", ["", `Version ${older.version}`, `Version ${newer.version}`], rows));
}
