// Why a check calls it drift: harm, features before and after, class shares, examples, who sends it.

import { beforeAfter, shareBar } from "../charts.js";
import { h } from "../dom.js";
import { count, figure, percent, points } from "../format.js";
import { badge, card, facts, table } from "../parts.js";
import { featureOf } from "../words.js";

const FEATURES = 6;

/** The cards that the report has something to say in. */
export function evidenceCards(report) {
  const evidence = report.evidence;
  return [
    h("div", { class: "columns" }, harm(report), evidence ? novelty(evidence) : null, labelShift(report.label_shift)),
    evidence?.features?.length ? features(evidence.features) : null,
    evidence ? examples(evidence) : null,
    evidence ? origins(evidence) : null,
  ];
}

function harm({ harm: estimated, labelled }) {
  if (!estimated && !labelled) {
    return card("Does it hurt?", h("p", {}, "Not known: too few reference rows have a label to estimate accuracy. Labels of this traffic would tell."));
  }
  const rows = [];
  if (labelled) rows.push(...accuracyRow(`By ${count(labelled.n)} labels`, labelled.accuracy, labelled.reference_accuracy));
  if (estimated) rows.push(...accuracyRow("Estimated without labels", estimated.estimated_accuracy, estimated.reference_accuracy));
  const note = estimated ? h("p", { class: "note" }, `${estimated.note}.`) : null;
  return card("Does it hurt?", [h("div", { class: "bars" }, rows), note]);
}

function accuracyRow(title, now, before) {
  const lost = now - before;
  return [
    h("h3", {}, title),
    measured("Before", before, "before"),
    measured("Now", now, lost < -0.03 ? "bad" : "after"),
    h("p", { class: "note" }, points(lost)),
  ];
}

const measured = (name, share, kind) => h("div", { class: "measured" }, h("span", {}, name), shareBar(share, kind), h("strong", {}, percent(share, 1)));

function novelty(evidence) {
  return card("How new is it?", [
    h("div", { class: "bars" }, measured("New", evidence.unexplained_share, "after")),
    h("p", {}, `${percent(evidence.unexplained_share)} of the window look like nothing known (at least ${percent(evidence.unexplained_low)}).`),
    facts([["Separability", `${figure(evidence.separability)} (0.5: cannot be told apart, 1: always)`]]),
  ]);
}

function labelShift(found) {
  if (!found) return null;
  const rows = Object.keys(found.prior_after).map((label) => [h("h3", {}, label), measured("Before", found.prior_before[label] ?? 0, "before"), measured("Now", found.prior_after[label], "after")]);
  const says = found.explains ? "The change of the classes' shares explains the drift." : "The classes' shares do not explain the drift alone.";
  return card("Class shares", [h("div", { class: "bars" }, rows), h("p", { class: "note" }, `${says} Estimated from the answers (BBSE).`)]);
}

function features(found) {
  const shown = found.filter((feature) => feature.before.length).slice(0, FEATURES);
  const legend = h("div", { class: "legend" }, h("span", { class: "key before" }, "before"), h("span", { class: "key after" }, "now"));
  return card("Features that moved most", h("div", { class: "small-multiples" }, shown.map(feature)), { aside: legend, note: "Each pair of bars holds a sixteenth of the known traffic: where “now” is higher, there is more of it." });
}

function feature(found) {
  const name = featureOf(found.name);
  return h("figure", { class: "multiple" },
    h("figcaption", {}, h("strong", {}, name), h("span", { class: "note" }, `KS ${figure(found.ks)} · ${percent(found.share)} of the change`)),
    beforeAfter(found.before, found.after, `${name}: distribution before and now`),
    h("div", { class: "histogram-ends" }, h("span", {}, figure(found.edges[0])), h("span", {}, figure(found.edges.at(-1)))));
}

function examples({ typical_new: fresh, nearest_old: known }) {
  if (!fresh.length && !known.length) return null;
  return h("div", { class: "columns" },
    card("Inputs that look newest", h("ul", { class: "texts" }, fresh.map(freshText))),
    card("Nearest known texts", h("ul", { class: "texts" }, known.map((each) => text(each.text)))));
}

const freshText = (each) => text(each.text, each.label === undefined ? null :
  h("span", { class: "text-foot" }, badge("plain", `answered ${each.label}, ${percent(each.score)}`), each.domain ? h("span", {}, each.domain) : null));

const text = (said, foot = null) => h("li", { class: said ? "text" : "text gone" }, said ?? "no longer kept", foot);

function origins({ clients, domains }) {
  const tables = [["client", clients], ["domain", domains]].filter(([, found]) => found.length > 0).map(([what, found]) =>
    card(`By ${what}`, table(`Shares by ${what}`, [what, ["Of the window", "number"], ["Of what is new", "number"]],
      found.map((each) => [each.name, percent(each.share), percent(each.share_new)]))));
  return tables.length ? h("div", { class: "columns" }, tables) : null;
}
